"""Scores of answers written as text: per example some counts, whose sums give the score."""

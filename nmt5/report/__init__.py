"""What runs did, for people: a table for the terminal and one self-contained page."""

"""The papers' evaluation sets: their files, their form as text, and what is measured on them."""

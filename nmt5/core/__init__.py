"""Names, errors and small helpers that every other package may use. Imports nothing of nmt5."""

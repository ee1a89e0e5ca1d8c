"""Training: schedules, Adafactor, the train step, the loop and what it writes."""

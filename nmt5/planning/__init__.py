"""What a run will need, from its compiled step: memory, collectives, time. No device is touched."""

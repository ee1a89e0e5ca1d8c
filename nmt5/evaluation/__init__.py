"""What a checkpoint can do: scores with intervals and signatures, and translations to read."""

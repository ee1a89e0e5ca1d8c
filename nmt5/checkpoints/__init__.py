"""Checkpoints: the native Orbax layout, its checksums, and the mapping from public formats."""

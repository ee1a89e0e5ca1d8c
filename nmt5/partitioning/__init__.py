"""Which device holds which part of every array. Knows meshes and names, not layers."""

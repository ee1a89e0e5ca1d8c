"""nmt5: continue the pre-training of mT5-family models on monolingual and parallel text."""

__version__ = "0.1.0"

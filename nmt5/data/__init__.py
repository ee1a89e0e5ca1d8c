"""From text to packed batches. Only `registry` and the tasks built on it import SeqIO."""

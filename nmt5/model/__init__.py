"""The T5 family in Flax linen: sizes, network and loss. Imports neither TensorFlow nor SeqIO."""

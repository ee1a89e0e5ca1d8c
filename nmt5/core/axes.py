"""Shape letters used in names and types, and the logical axis that each one stands for.

An array local of shape (batch, decoder length, vocabulary) is called `logits_BTV`. Parameter axes
carry T5X's names, so that its partitioning rules apply unchanged.
"""

BATCH = "batch"
LENGTH = "length"
EMBED = "embed"
VOCAB = "vocab"
HEADS = "heads"
KV = "kv"
JOINED_KV = "joined_kv"
MLP = "mlp"
RELPOS_BUCKETS = "relpos_buckets"
LAYERS = "layers"
# The model width of activations, whose first dimension is the batch; EMBED is that of parameters.
ACTIVATION_EMBED = "activation_embed"

# The axes of the mesh of devices.
DATA = "data"
FSDP = "fsdp"
TENSOR = "tensor"
MESH_AXES = (DATA, FSDP, TENSOR)

LOGICAL_AXIS_OF_LETTER = {
    "B": BATCH,
    "S": LENGTH,  # encoder length
    "T": LENGTH,  # decoder length
    "D": EMBED,  # model width
    "V": VOCAB,
    "H": HEADS,
    "K": KV,  # size per head
    "J": JOINED_KV,  # heads x size per head, flattened in parameters
    "F": MLP,  # feed-forward width
    "R": RELPOS_BUCKETS,
    "L": LAYERS,  # scanned layers
}

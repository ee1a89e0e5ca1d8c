"""Feature names: SeqIO's for task features, T5X's for what the model reads."""

INPUTS = "inputs"
TARGETS = "targets"

ENCODER_INPUT_TOKENS = "encoder_input_tokens"
ENCODER_SEGMENT_IDS = "encoder_segment_ids"
ENCODER_POSITIONS = "encoder_positions"
DECODER_INPUT_TOKENS = "decoder_input_tokens"
DECODER_TARGET_TOKENS = "decoder_target_tokens"
DECODER_SEGMENT_IDS = "decoder_segment_ids"
DECODER_POSITIONS = "decoder_positions"
DECODER_LOSS_WEIGHTS = "decoder_loss_weights"

ENCODER_FEATURES = (ENCODER_INPUT_TOKENS, ENCODER_SEGMENT_IDS, ENCODER_POSITIONS)
DECODER_FEATURES = (
    DECODER_INPUT_TOKENS,
    DECODER_TARGET_TOKENS,
    DECODER_SEGMENT_IDS,
    DECODER_POSITIONS,
    DECODER_LOSS_WEIGHTS,
)
MODEL_FEATURES = ENCODER_FEATURES + DECODER_FEATURES

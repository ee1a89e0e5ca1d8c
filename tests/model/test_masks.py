import jax.numpy as jnp
import numpy as np

from nmt5.model.masks import MASKED, Mask, cross_mask, decoder_mask, encoder_mask, key_mask

INPUTS = jnp.array([[7, 8, 9, 4, 0]])
INPUT_SEGMENTS = jnp.array([[1, 1, 2, 2, 0]])
TARGETS = jnp.array([[5, 6, 3, 0]])
TARGET_SEGMENTS = jnp.array([[1, 2, 2, 0]])


def allowed(mask):
    mask_B1TS = mask.terms_B1TS if isinstance(mask, Mask) else mask
    assert set(np.unique(mask_B1TS)) <= {0.0, np.float32(MASKED)}
    return np.asarray(mask_B1TS[0, 0] == 0.0).astype(int).tolist()


def test_encoder_sees_its_segment():
    assert allowed(encoder_mask(INPUTS, segment_ids_BS=INPUT_SEGMENTS)) == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0],
    ]
    assert allowed(encoder_mask(INPUTS))[0] == [1, 1, 1, 1, 0]


def test_decoder_sees_its_segment_up_to_itself():
    assert allowed(decoder_mask(TARGETS, segment_ids_BT=TARGET_SEGMENTS)) == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 0, 0],
    ]
    assert allowed(decoder_mask(TARGETS))[2] == [1, 1, 1, 0]


def test_decoder_sees_inputs_of_its_segment():
    mask = cross_mask(
        TARGETS,
        INPUTS,
        decoder_segment_ids_BT=TARGET_SEGMENTS,
        encoder_segment_ids_BS=INPUT_SEGMENTS,
    )
    assert allowed(mask) == [
        [1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0],
    ]
    assert allowed(key_mask(INPUTS)) == [[1, 1, 1, 1, 0]]


def test_ids_say_the_same_as_the_terms():
    for mask in (
        encoder_mask(INPUTS, segment_ids_BS=INPUT_SEGMENTS),
        decoder_mask(TARGETS, segment_ids_BT=TARGET_SEGMENTS),
        decoder_mask(TARGETS),
        cross_mask(TARGETS, INPUTS),
    ):
        same = np.asarray(mask.query_ids_BT)[0, :, None] == np.asarray(mask.key_ids_BS)[0]
        if mask.causal:
            same = np.tril(same)
        assert same.astype(int).tolist() == allowed(mask)

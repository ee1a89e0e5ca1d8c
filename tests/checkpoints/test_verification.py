"""Comparing two checkpoints of one model."""

import importlib.util
import sys
import types

import numpy as np
import pytest

from nmt5.checkpoints import verification
from nmt5.checkpoints.conversion import ConvertConfig, convert
from nmt5.checkpoints.verification import logits_of, random_tokens, verify
from nmt5.core.errors import CheckpointError


@pytest.fixture
def pair(samples, tmp_path):
    params = samples.random_params(samples.SHARED)
    source = samples.write_huggingface(tmp_path / "hf", samples.SHARED, params)
    native = convert(
        ConvertConfig(source=str(source), target=str(tmp_path / "n")), report=lambda line: None
    )
    return source, native.path, params


def test_equal_parameters_are_found_equal_and_others_measured(pair, samples, tmp_path, monkeypatch):
    source, native, params = pair
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    lines = []
    result = verify(source, native, report=lines.append)
    assert result.largest_parameter_difference == 0 and result.largest_logit_difference is None
    assert lines == [
        "verify: parameters equal bit for bit",
        "verify: torch and transformers are not installed, no logits compared",
    ]
    params["encoder/encoder_norm/scale"] = params["encoder/encoder_norm/scale"] + 0.25
    other = samples.write_huggingface(tmp_path / "other", samples.SHARED, params)
    result = verify(other, native, report=lines.append)
    assert result.largest_parameter_difference == pytest.approx(0.25, rel=1e-5)


@pytest.mark.slow
def test_logits_of_the_peer_are_compared(pair, monkeypatch):
    """A stand-in for transformers gives nmt5's own logits, or wrong ones."""
    source, native, _ = pair
    offset = 0.0

    class Model:
        def float(self):
            return self

        eval = float

        def __call__(self, input_ids, decoder_input_ids):
            logits = logits_of(source, input_ids.astype(np.int32), decoder_input_ids)
            return types.SimpleNamespace(
                logits=types.SimpleNamespace(numpy=lambda: logits + offset)
            )

    class NoGrad:
        __enter__ = __exit__ = lambda self, *_: None

    torch = types.SimpleNamespace(tensor=lambda x: x, no_grad=NoGrad)
    auto = types.SimpleNamespace(from_pretrained=lambda path: Model())
    monkeypatch.setitem(sys.modules, "torch", torch)
    peer = types.SimpleNamespace(AutoModelForSeq2SeqLM=auto)
    monkeypatch.setitem(sys.modules, "transformers", peer)
    monkeypatch.setattr(verification.importlib.util, "find_spec", lambda name: object())
    result = verify(source, native, report=lambda line: None)
    assert result.largest_logit_difference <= 1e-6
    offset = 1.0
    with pytest.raises(CheckpointError, match="logits of transformers and nmt5 differ"):
        verify(source, native, report=lambda line: None)


def test_random_tokens_are_real_ones():
    inputs, decoder_inputs = random_tokens(10)
    assert inputs.shape == (2, 24) and decoder_inputs.shape == (2, 12)
    assert inputs.min() >= 3 and inputs.max() < 10 and inputs.dtype == np.int32

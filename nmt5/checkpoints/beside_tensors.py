"""What a checkpoint holds beside its tensors: configuration, description, tokenizer."""

from collections.abc import Mapping
import os

from etils import epath

from nmt5.checkpoints.huggingface import FORMAT as HUGGINGFACE
from nmt5.checkpoints.huggingface_export import (
    default_family,
    huggingface_config,
    tokenizer_files,
    write_companions,
)
from nmt5.checkpoints.opened import OpenedCheckpoint
from nmt5.checkpoints.t5x import COMPANIONS_DIRECTORY, NATIVE
from nmt5.core.errors import CheckpointError
from nmt5.core.files import sha256, write_json


def write_beside(config, opened: OpenedCheckpoint, directory: epath.Path, writer) -> None:
    """Writes config.json and tokenizer, or the description of a native checkpoint.

    Args:
      config: the `ConvertConfig`.
      opened: the source.
      directory: where to.
      writer: the target's tensor writer.

    Raises:
      CheckpointError: the vocabulary asked for is no SentencePiece model.
    """
    files = {name: epath.Path(path).read_bytes() for name, path in opened.companions.items()}
    model = None
    if config.vocabulary is not None:
        model = vocabulary_model(config.vocabulary)
        files = tokenizer_files(model, num_sentinels=100)
    elif "spiece.model" in files:
        model = files["spiece.model"]
    family = config.family or opened.stated.family or default_family(opened.config)
    extra = opened.stated.extra if opened.format == HUGGINGFACE else {}
    if opened.format == NATIVE and isinstance(opened.stated.extra.get("run"), Mapping):
        extra = opened.stated.extra["run"].get("huggingface", {})
    if config.format == HUGGINGFACE:
        write_companions(directory, files)
        content = huggingface_config(opened.config, family=family, dtype=config.dtype, extra=extra)
        write_json(directory / "config.json", content)
    elif config.format == NATIVE:
        writer.write_description(
            {
                "format": 1,
                "step": opened.step or 0,
                "model": opened.config.to_dict(),
                **_named_vocabulary(model, opened),
                "run": {
                    "converted_from": config.source,
                    "family": family,
                    "huggingface": dict(extra),
                },
            }
        )
        if files:
            (directory / COMPANIONS_DIRECTORY).mkdir()
            write_companions(directory / COMPANIONS_DIRECTORY, files)


def _named_vocabulary(model: bytes | None, opened: OpenedCheckpoint) -> dict[str, str | int]:
    """Returns what a description says of vocabulary and mixture; a native source has said it."""
    if model is not None:
        named = {"vocabulary_fingerprint": sha256(model), "vocabulary_size": _num_pieces(model)}
        return named | {"mixture": ""}
    nothing = {"vocabulary_fingerprint": "", "vocabulary_size": 0, "mixture": ""}
    if opened.format != NATIVE:
        return nothing
    return {name: opened.stated.extra.get(name, value) for name, value in nothing.items()}


def vocabulary_model(path: os.PathLike | str) -> bytes:
    """Returns the SentencePiece model at a path or in a directory; raises `CheckpointError`."""
    return vocabulary_path(path).read_bytes()


def vocabulary_path(path: os.PathLike | str) -> epath.Path:
    """Returns the SentencePiece file at a path or in a directory; raises `CheckpointError`."""
    path = epath.Path(path)
    for candidate in (path / "sentencepiece.model", path / "spiece.model", path):
        if candidate.is_file():
            return candidate
    raise CheckpointError(f"{path}: no SentencePiece model (sentencepiece.model, spiece.model)")


def _num_pieces(model: bytes) -> int:
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model).vocab_size()
    except RuntimeError as error:
        raise CheckpointError(f"the vocabulary is no SentencePiece model ({error})") from error

"""A checkpoint ready to answer: parameters on the device, its model, and the right vocabulary."""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp

from nmt5.checkpoints.checksums import FILE as CHECKSUMS
from nmt5.checkpoints.manager import Description, find_checkpoint, is_native, load_params
from nmt5.core.errors import VocabularyError
from nmt5.core.files import sha256
from nmt5.data.vocabulary import Vocabulary, require_same
from nmt5.model.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """What decoding and encoding need of a checkpoint.

    Attributes:
      params: nested dictionary of arrays.
      config: the model.
      description: the checkpoint's own words.
      vocabulary: the one that it was trained with.
    """

    params: Mapping[str, Any]
    config: ModelConfig
    description: Description
    vocabulary: Vocabulary


def load_model(checkpoint: os.PathLike | str, *, vocabulary: Vocabulary) -> LoadedModel:
    """Loads the parameters of a checkpoint and checks that the vocabulary is its own.

    Where the checkpoint was converted from one that does not name it, sizes must do.

    Args:
      checkpoint: a run directory, its `checkpoints` directory, or one `checkpoint_<step>`; or a
        public checkpoint of any format (T5X, Hugging Face, Mesh TensorFlow).
      vocabulary: the vocabulary that texts will be encoded with.

    Raises:
      CheckpointError: missing or damaged.
      VocabularyError: the checkpoint was trained with another vocabulary, or its embedding has
        fewer rows than the vocabulary has ids.
    """
    params, description = load_params(checkpoint) if is_native(checkpoint) else _public(checkpoint)
    # A checkpoint converted without its vocabulary does not name it; only the size is checked.
    if found := description.vocabulary_fingerprint:
        require_same(found, vocabulary.fingerprint, where=f"checkpoint {checkpoint}")
    config = ModelConfig.from_dict(description.model)
    size = vocabulary.token_ids.size
    if config.vocab_size < size:
        raise VocabularyError(
            f"checkpoint {checkpoint}: its embedding has {config.vocab_size} rows, the vocabulary "
            f"{size} ids; use the vocabulary that it was trained with"
        )
    return LoadedModel(jax.tree.map(jnp.asarray, params), config, description, vocabulary)


def _public(checkpoint: os.PathLike | str) -> tuple[Mapping[str, Any], Description]:
    from nmt5.checkpoints.public_import import import_public

    params, config, step = import_public(checkpoint)
    return params, Description(
        step=step or 0,
        model=config.to_dict(),
        vocabulary_fingerprint="",
        vocabulary_size=0,
        mixture="",
    )


def checkpoint_identity(checkpoint: os.PathLike | str) -> tuple[epath.Path, str]:
    """Finds the checkpoint that `load_model` would take, and what tells it from all others.

    Returns:
      Its directory, and the SHA-256 of the list of its files' checksums.

    Raises:
      CheckpointError: missing or damaged.
    """
    found = find_checkpoint(checkpoint)
    return found, sha256((found / CHECKSUMS).read_bytes())

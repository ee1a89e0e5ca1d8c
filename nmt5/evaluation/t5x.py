"""What T5X's gin files need of nmt5: the network of a checkpoint, the vocabulary, the task's name.

`gin/t5x/{eval,infer,train}.gin` use it; nothing else does. A module in one of them is

    models.EncoderDecoderModel.module = @nmt5_t5x.network()
    nmt5_t5x.network.checkpoint = %CHECKPOINT_PATH
    nmt5_t5x.network.code = 'nmt5'               # or 't5x': T5X's own network

so that no size is written down twice: they are read from the checkpoint. T5X is no dependency, and
is imported only where its network is asked for.

Source: https://github.com/google-research/t5x/tree/cc342d419ec3e3e9c4bf1df33c82330cafdc1e16/t5x
"""

from collections.abc import Sequence
import dataclasses
import os
from typing import Any

from flax import linen as nn

from nmt5.checkpoints.detect import open_checkpoint
from nmt5.core.errors import ConfigError, VocabularyError, unknown_name
from nmt5.evaluation.t5x_network import Transformer
from nmt5.model.config import RELATIVE_BIAS_PER_LAYER, ModelConfig, model_config

NMT5, T5X = "nmt5", "t5x"
# What T5X's networks have built in.
_T5X_BUCKETS, _T5X_DISTANCE = 32, 128


def network(
    *,
    checkpoint: str | Sequence[str] | None = None,
    size: str | None = None,
    code: str = NMT5,
    dropout_rate: float = 0.0,
    dtype: str | None = None,
) -> nn.Module:
    """Returns a network for T5X's `models.EncoderDecoderModel`.

    Args:
      checkpoint: any that nmt5 can open, or a directory of several of one model, or a list of them.
        Only its description is read here.
      size: a name of `nmt5.model.config.SIZES` instead, for training from nothing; the vocabulary
        of the process must then fit its rows.
      code: "nmt5" for nmt5's network, "t5x" for T5X's.
      dropout_rate: of training; T5X switches it off elsewhere.
      dtype: of activations; None takes the checkpoint's.

    Raises:
      ConfigError: unknown size or code, or a model that T5X's network cannot be.
      CheckpointError: missing, damaged, or no T5-family model.
      VocabularyError: the checkpoint was trained with another vocabulary than the process has.
    """
    if code not in (NMT5, T5X):
        raise ConfigError("network.code: " + unknown_name("network", code, (NMT5, T5X)))
    if (checkpoint is None) == (size is None):
        raise ConfigError("network: give a checkpoint or a size, and not both")
    if size is not None:
        config = model_config(size, vocab_size=_rows(_vocabulary_size()))
    else:
        config = _config_of(checkpoint)
    config = dataclasses.replace(config, dropout_rate=dropout_rate)
    if dtype is not None:
        config = dataclasses.replace(config, dtype=dtype)
    return Transformer(config) if code == NMT5 else _t5x_network(config)


def vocabulary(path: os.PathLike | str | None = None) -> Any:
    """Returns the vocabulary of all registered tasks as T5X's models want it.

    Args:
      path: of a vocabulary for this process; None takes the one of NMT5_VOCABULARY.

    Raises:
      VocabularyError: none is named, or it cannot be opened.
    """
    from nmt5.data.registry import TaskVocabulary, configure

    if path is not None:
        configure(vocabulary=path)
    found = TaskVocabulary()
    found.found()  # a missing file is named now rather than behind T5X's thousand lines
    return found


def task(name: str) -> str:
    """Returns the name of a task or mixture that T5X can look up; `mixtures` must be imported.

    T5X says of a wrong name only that there is no such task. Pairs of languages that are registered
    when they are named (`flores_eval.deu_Latn_to_fra_Latn`) are registered here.

    Raises:
      ConfigError: nothing is called so; the message has the nearest names.
    """
    from nmt5.evaluation.benchmarks.registration import find_registered

    return find_registered(name)


def _config_of(checkpoint: Any) -> ModelConfig:
    from nmt5.data.locations import find_vocabulary

    path = checkpoint if isinstance(checkpoint, (str, os.PathLike)) else checkpoint[0]
    opened = open_checkpoint(path)
    trained_with = opened.stated.extra.get("vocabulary_fingerprint")
    if trained_with and trained_with != find_vocabulary().fingerprint:
        raise VocabularyError(
            f"{path}: trained with vocabulary {str(trained_with)[:12]}, this process has "
            f"{find_vocabulary().fingerprint[:12]} ({find_vocabulary().model_path}); set "
            "NMT5_VOCABULARY or --gin.nmt5_t5x.vocabulary.path to the checkpoint's"
        )
    if opened.config.vocab_size < _vocabulary_size():
        raise VocabularyError(
            f"{path}: its embedding has {opened.config.vocab_size} rows, the vocabulary "
            f"{_vocabulary_size()} ids"
        )
    return opened.config


def _vocabulary_size() -> int:
    from nmt5.data.locations import find_vocabulary

    return find_vocabulary().token_ids.size


def _rows(size: int) -> int:
    """Returns the rows of an embedding for `size` ids: the next multiple of 128, as T5's have."""
    return -(-size // 128) * 128


def _t5x_network(config: ModelConfig) -> nn.Module:
    if config.relative_bias == RELATIVE_BIAS_PER_LAYER:
        raise ConfigError(
            "network: T5X's network for a position table per layer (umT5) keeps other shapes; use "
            "code='nmt5', or write a checkpoint for T5X with `nmt5 convert --format=t5x_orbax`"
        )
    if (config.relative_buckets, config.relative_max_distance) != (_T5X_BUCKETS, _T5X_DISTANCE):
        raise ConfigError(
            f"network: T5X's has {_T5X_BUCKETS} relative buckets up to distance {_T5X_DISTANCE}, "
            f"the model {config.relative_buckets} up to {config.relative_max_distance}; use "
            "code='nmt5'"
        )
    from t5x.examples.t5 import network as t5x_network

    names = (
        "vocab_size", "dtype", "emb_dim", "num_heads", "num_encoder_layers", "num_decoder_layers",
        "head_dim", "mlp_dim", "mlp_activations", "dropout_rate", "logits_via_embedding",
    )  # fmt: skip
    return t5x_network.Transformer(
        t5x_network.T5Config(**{name: getattr(config, name) for name in names})
    )

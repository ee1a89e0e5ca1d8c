"""Names of models on the Hugging Face Hub, resolved to a local directory."""

from collections.abc import Callable, Iterator
import contextlib
import os
import re
from typing import Any

from etils import epath

from nmt5.core.errors import CheckpointError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# The first kind of weights that is present; a pattern of each.
_WEIGHTS = (
    (r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?",),
    (r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?",),
    (r"flax_model(-\d+-of-\d+)?\.msgpack(\.index\.json)?",),
)
_OTHERS = (
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map)\.json|spiece\.model"
)


def resolve(
    source: str, *, report: Callable[[str], None] = lambda line: None, library: Any = None
) -> str:
    """Returns a path that can be opened.

    Args:
      source: a path, which is returned as it is, or a Hub name `owner/model`, whose files are
        fetched into the Hub's cache; an interrupted download goes on where it stopped.
      report: gets the size before anything is fetched.
      library: stands in for the `huggingface_hub` module in tests.

    Returns:
      `source`, or the directory of the fetched files.

    Raises:
      CheckpointError: no such path and no such model, or the Hub is out of reach.
    """
    if not _NAME.fullmatch(source) or epath.Path(source).exists():
        return source
    if os.path.isdir(source.split("/", 1)[0]):
        return source  # a path whose last part is missing, not a Hub name
    if library is None:
        try:
            import huggingface_hub as library
        except ImportError as error:
            raise CheckpointError(
                f"{source}: does not exist here; to fetch it from the Hugging Face Hub, install "
                "huggingface_hub"
            ) from error
    with _explained(source, "neither a path nor to be had from the Hugging Face Hub"):
        info = library.HfApi().model_info(source, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings}
    wanted = _wanted(sizes, source=source)
    total = sum(sizes[name] for name in wanted)
    report(f"{source}: fetching {len(wanted)} files, {total / 1e6:,.1f} MB, from the Hub")
    with _explained(source, "fetching stopped; the same command goes on where it was"):
        return library.snapshot_download(source, allow_patterns=sorted(wanted))


@contextlib.contextmanager
def _explained(source: str, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the Hub's library raises errors of many other libraries
        raise CheckpointError(
            f"{source}: {what} ({type(error).__name__}: {str(error)[:200]})"
        ) from error


def _wanted(sizes: dict[str, int], *, source: str) -> list[str]:
    """Returns the files to fetch: one kind of weights, config and tokenizer."""
    for (pattern,) in _WEIGHTS:
        weights = [name for name in sizes if re.fullmatch(pattern, name)]
        if weights:
            return weights + [name for name in sizes if re.fullmatch(_OTHERS, name)]
    raise CheckpointError(f"{source}: has no weights of a known format on the Hub")

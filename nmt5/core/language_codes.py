"""The text that tells a model which language to write.

`<2fr> ` as in "Evaluating the Cross-Lingual Effectiveness of Massively Multilingual Neural Machine
Translation" (Siddhant et al., 2020); the nmT5 paper does not say its own form.
"""

from collections.abc import Sequence

from nmt5.core.errors import ConfigError, unknown_name

CODE_TEMPLATE = "<2{language}> "
# Before the inputs, or at the start of the targets.
SOURCE, DECODER = "source", "decoder"
CODE_POSITIONS = (SOURCE, DECODER)


def check_code_template(template: str, *, where: str) -> None:
    """Raises `ConfigError` if a template has a field other than `{language}`."""
    try:
        template.format(language="xx")
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(
            f"{where}: code_template {template!r} may hold {{language}} and no other field"
        ) from error


def check_code_position(position: str, *, where: str) -> None:
    """Raises `ConfigError` if a code cannot stand there."""
    if position not in CODE_POSITIONS:
        raise ConfigError(f"{where}: {unknown_name('code_position', position, CODE_POSITIONS)}")


def place_code(code: Sequence[int], *, position: str) -> tuple[Sequence[int], Sequence[int]]:
    """Returns what inputs and what outputs begin with.

    >>> place_code([7, 8], position="source"), place_code([7, 8], position="decoder")
    (([7, 8], []), ([], [7, 8]))

    Args:
      code: ids of the text that names the target language.
      position: one of `CODE_POSITIONS`.
    """
    return ([], code) if position == DECODER else (code, [])

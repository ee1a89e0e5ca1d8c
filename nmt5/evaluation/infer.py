"""Outputs for lines as they come, translations or others: a file or standard input, in chunks."""

from collections.abc import Callable, Iterable, Iterator
import dataclasses
import itertools
import json
import time

from nmt5.core.errors import DataError, unknown_name
from nmt5.core.language_codes import (
    CODE_TEMPLATE,
    SOURCE,
    check_code_position,
    check_code_template,
    place_code,
)
from nmt5.data.languages import check_language
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.decoding.translate import translate
from nmt5.evaluation.loading import LoadedModel


@dataclasses.dataclass(frozen=True)
class InferConfig:
    """How lines are read by the model.

    Attributes:
      language: code of the language to translate into; None names none.
      code_template: text that names it, with `{language}` for that code.
      code_position: "source", before a line, or "decoder": outputs begin with it, unseen.
      chunk_lines: lines read and sorted by length together; outputs appear after each chunk.
    """

    language: str | None = None
    code_template: str = CODE_TEMPLATE
    code_position: str = SOURCE
    chunk_lines: int = 1024

    def __post_init__(self):
        if self.language is not None:
            check_language(self.language)
        check_code_template(self.code_template, where="InferConfig")
        check_code_position(self.code_position, where="InferConfig")

    @property
    def code(self) -> str:
        """The text that names the target language."""
        return "" if self.language is None else self.code_template.format(language=self.language)


@dataclasses.dataclass(frozen=True)
class Inference:
    """One line and its output; `score` is that of the search."""

    source: str
    output: str
    score: float

    def to_json_line(self) -> str:
        """Returns one line of JSON with source, output and score."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False) + "\n"


def column_of(lines: Iterable[str], *, column: str, name: str) -> Iterator[str]:
    """Yields one column of tab-separated lines.

    Args:
      lines: with or without their line ends.
      column: a number, counted from 0; or a name, which the first line then must have.
      name: of the input, for messages.

    Raises:
      DataError: no such column; names the line.
    """
    iterator = enumerate(lines, start=1)
    if column.isdecimal():
        index = int(column)
    else:
        names = next(iterator, (1, ""))[1].rstrip("\r\n").split("\t")
        if column not in names:
            raise DataError(f"{name}: line 1: {unknown_name('column', column, names)}")
        index = names.index(column)
    for number, line in iterator:
        cells = line.rstrip("\r\n").split("\t")
        if len(cells) <= index:
            raise DataError(
                f"{name}: line {number}: {len(cells)} columns, expected at least {index + 1}; mend "
                "the line, or choose another column"
            )
        yield cells[index]


def infer_lines(
    lines: Iterable[str],
    *,
    model: LoadedModel,
    config: InferConfig,
    decoding: DecodingConfig | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[Inference]:
    """Writes an output for each line in order; an empty line gives an empty output.

    Args:
      lines: with or without their line ends.
      model: the model.
      config: the target language, if any.
      decoding: the search.
      say: takes a line on progress and speed after each chunk, and on inputs that were cut.

    Yields:
      One `Inference` per line.

    Raises:
      DataError: unknown target language (when the configuration is made).
    """
    ids, vocabulary = model.vocabulary.token_ids, model.vocabulary
    code = vocabulary.encode(config.code)
    prefix, output_prefix = place_code(code, position=config.code_position)
    started, num_done, num_ids = time.monotonic(), 0, 0
    iterator = iter(lines)
    while chunk := [line.rstrip("\r\n") for line in itertools.islice(iterator, config.chunk_lines)]:
        written = [index for index, line in enumerate(chunk) if line.strip()]
        found = translate(
            model.params,
            config=model.config,
            token_lists=[[*prefix, *vocabulary.encode(chunk[index])] for index in written],
            output_prefixes=[output_prefix] * len(written),
            num_ids=ids.size,
            eos=ids.eos,
            pad=ids.pad,
            decoding=decoding,
        )
        outputs = [Inference(line, "", 0.0) for line in chunk]
        for index, output, score in zip(written, found.ids, found.scores, strict=True):
            outputs[index] = Inference(chunk[index], vocabulary.decode(output), score)
        num_done += len(chunk)
        num_ids += sum(map(len, found.ids))
        if say is not None:
            seconds = max(time.monotonic() - started, 1e-9)
            cut = f", {found.num_cut_inputs} cut: too long" if found.num_cut_inputs else ""
            say(
                f"{num_done} lines, {num_done / seconds:.1f} lines/s, "
                f"{num_ids / seconds:.0f} output tokens/s{cut}"
            )
        yield from outputs

"""The shape of a batch: how many rows of which lengths each objective gets.

A group's share is a share of encoder tokens, so its rows are share x tokens / row length. Shapes
are fixed for a run, so that the train step is compiled once.
"""

from collections.abc import Mapping
import dataclasses

from nmt5.core.errors import ConfigError, unknown_name
from nmt5.data.mixture import GroupSpec, Mixture
from nmt5.data.objectives import OBJECTIVES, find_objective

_USUAL_LANES = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which text is fed, in which shapes.

    Attributes:
      mixture: path of a resolved mixture (`<name>.json`), or the name of a registered one.
      store: root directory of the prepared corpora.
      inputs_length: encoder tokens of a span-corruption row; a row of sentence pairs has half of
        it on both sides.
      row_lengths: `{objective: (inputs, targets)}` instead of the default.
      encoder_tokens_per_batch: encoder tokens of a batch over all processes, padding counted; met
        in whole multiples of the data-parallel parts.
      rows: `{objective: rows of a batch}` instead of what its share of the tokens comes to; taken
        as they are, so a mesh that does not divide them is refused.
      seed: of order and noise.
      lanes: independent streams whose rows make up a batch; decides how rows are spread over
        processes. None takes a divisor of the rows that fits the mesh.
      prefetch_batches: batches made ahead in the background; 0 makes them when asked for.
      open_files: most shards open at a time; None takes half of what the system allows a process
        (`ulimit -n`), at most 4,096.
    """

    mixture: str
    store: str
    inputs_length: int = 1024
    row_lengths: Mapping[str, tuple[int, int]] | None = None
    encoder_tokens_per_batch: int = 1_048_576
    rows: Mapping[str, int] | None = None
    seed: int = 0
    lanes: int | None = None
    prefetch_batches: int = 2
    open_files: int | None = None

    def __post_init__(self):
        least = {
            "inputs_length": 4,
            "encoder_tokens_per_batch": 1,
            "seed": 0,
            "prefetch_batches": 0,
        }
        for name, smallest in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < smallest:
                raise ConfigError(
                    f"DataConfig.{name} = {value!r}, expected an integer of at least {smallest}"
                )
        for name in ("lanes", "open_files"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"DataConfig.{name} = {value}, expected None or at least 1")
        for name in ("row_lengths", "rows"):
            for objective in getattr(self, name) or {}:
                if objective not in OBJECTIVES:
                    raise ConfigError(
                        f"DataConfig.{name}: {unknown_name('objective', objective, OBJECTIVES)}"
                    )
        for objective, count in (self.rows or {}).items():
            if not isinstance(count, int) or count < 1:
                raise ConfigError(
                    f"DataConfig.rows['{objective}'] = {count!r}, expected an integer of at least 1"
                )
        for objective, lengths in (self.row_lengths or {}).items():
            if len(lengths) != 2 or min(lengths) < 2:
                raise ConfigError(
                    f"DataConfig.row_lengths['{objective}'] = {lengths}, expected (inputs, "
                    "targets), both at least 2"
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowLayout:
    """The rows of one objective in every batch.

    Attributes:
      rows: rows per batch, over all processes.
      inputs_length: encoder tokens of a row.
      targets_length: decoder tokens of a row.
      raw_segment: ids of running text of one example; None for sentence pairs.
      share: the part of the batch's encoder tokens that these rows are.
      asked_share: the part that the mixture asks for.
      lanes: independent streams that the rows come from, a divisor of `rows`.
    """

    rows: int
    inputs_length: int
    targets_length: int
    raw_segment: int | None
    share: float
    asked_share: float
    lanes: int


def plan_layout(
    mixture: Mixture, config: DataConfig, *, rows_multiple: int = 1
) -> dict[str, RowLayout]:
    """Returns the rows of each objective.

    Rows are share x tokens / row length, rounded to a multiple of `rows_multiple`, at least one
    multiple; `RowLayout.share` is what came of it. Rows set in `DataConfig.rows` are never rounded.

    Args:
      mixture: the resolved mixture.
      config: lengths and tokens per batch.
      rows_multiple: number of data-parallel parts that a batch is split into.

    Raises:
      ConfigError: lengths that hold no text, `lanes` that do not divide the rows, or set rows that
        are no multiple; with the nearest numbers that are.
    """
    if rows_multiple < 1:
        raise ConfigError(f"feed: rows_multiple {rows_multiple}, expected at least 1")
    lengths = {group.objective: _row_lengths(group, config) for group in mixture.groups}
    rows = _set_rows(mixture, config, rows_multiple)
    for group in mixture.groups:
        exact = group.share * config.encoder_tokens_per_batch / lengths[group.objective][0]
        rounded = max(round(exact / rows_multiple), 1) * rows_multiple
        rows.setdefault(group.objective, rounded)
    total = sum(rows[name] * lengths[name][0] for name in rows)
    return {
        group.objective: RowLayout(
            rows=rows[group.objective],
            inputs_length=lengths[group.objective][0],
            targets_length=lengths[group.objective][1],
            raw_segment=_raw_segment(group, *lengths[group.objective]),
            share=rows[group.objective] * lengths[group.objective][0] / total,
            asked_share=group.share,
            lanes=_lanes(group.objective, rows[group.objective], config, rows_multiple),
        )
        for group in mixture.groups
    }


def layout_table(layout: Mapping[str, RowLayout]) -> str:
    """Returns the layout as lines of text, one per objective."""
    lines = [f"{'objective':18} {'rows':>6} {'inputs':>7} {'targets':>8} {'share':>7} {'asked':>7}"]
    for name, row in layout.items():
        lines.append(
            f"{name:18} {row.rows:6} {row.inputs_length:7} {row.targets_length:8} "
            f"{row.share:7.2%} {row.asked_share:7.2%}"
        )
    return "\n".join(lines)


def asked_tokens(layout: Mapping[str, RowLayout], config: DataConfig) -> int:
    """Returns the encoder tokens of a batch that the settings ask for, before any rounding."""
    chosen = config.rows or {}
    return round(
        sum(
            chosen[name] * row.inputs_length
            if name in chosen
            else row.asked_share * config.encoder_tokens_per_batch
            for name, row in layout.items()
        )
    )


def batch_line(layout: Mapping[str, RowLayout], config: DataConfig) -> str:
    """Returns the encoder positions of a batch in words, and those asked for if they differ."""
    total = sum(row.rows * row.inputs_length for row in layout.values())
    asked = asked_tokens(layout, config)
    note = f" (asked {asked:,}; rows are whole multiples of the data axes)"
    return f"{total:,} encoder positions a step" + ("" if total == asked else note)


def _set_rows(mixture: Mixture, config: DataConfig, rows_multiple: int) -> dict[str, int]:
    """Returns the rows that the settings fix, all checked before anything is compiled."""
    chosen, faults = dict(config.rows or {}), []
    objectives = [group.objective for group in mixture.groups]
    for objective, count in chosen.items():
        if objective not in objectives:
            raise ConfigError(
                "DataConfig.rows: "
                + unknown_name(f"objective of mixture '{mixture.name}'", objective, objectives)
            )
        if count % rows_multiple:
            below = count // rows_multiple * rows_multiple
            near = " or ".join(str(rows) for rows in (below, below + rows_multiple) if rows)
            faults.append(f"'{objective}' has {count}, nearest {near}")
    if faults:
        raise ConfigError(
            f"DataConfig.rows: rows of a batch must be multiples of the {rows_multiple} "
            f"data-parallel parts of the mesh: {'; '.join(faults)}; or change the mesh"
        )
    return chosen


def _row_lengths(group: GroupSpec, config: DataConfig) -> tuple[int, int]:
    chosen = (config.row_lengths or {}).get(group.objective)
    if chosen is not None:
        return chosen[0], chosen[1]
    return find_objective(group.objective).row_lengths(config.inputs_length, group.settings)


def _raw_segment(group: GroupSpec, inputs_length: int, targets_length: int) -> int | None:
    segment_tokens = find_objective(group.objective).segment_tokens
    if segment_tokens is None:
        return None
    return segment_tokens(inputs_length, targets_length, group.settings)


def _lanes(objective: str, rows: int, config: DataConfig, rows_multiple: int) -> int:
    """Returns a divisor of the rows that any number of processes of this mesh divides.

    Few lanes start faster, since each packs a window of its own before the first batch.
    """
    if config.lanes is not None:
        if rows % config.lanes:
            raise ConfigError(
                f"DataConfig.lanes = {config.lanes} does not divide the {rows} rows of "
                f"'{objective}'; use a divisor, or None"
            )
        return config.lanes
    candidates = range(rows_multiple, max(_USUAL_LANES, rows_multiple) + 1, rows_multiple)
    return max(lanes for lanes in candidates if rows % lanes == 0)

"""Small charts as SVG text: lines over steps, and dots with intervals in rows.

No plotting package is needed, and the page's style sheet colours them in light and dark alike:
series i uses the custom property `--series-i`. All texts are escaped here.
"""

from collections.abc import Sequence
import dataclasses
import html
import math

NUM_COLOURS = 6
_WIDTH = 720
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 12, 40
_LABEL = 30  # letters


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
      name: for the legend and the tooltip.
      points: (x, y) in order of x; points that are not finite are left out.
      colour: number of the series colour.
      dashed: whether it is drawn in dashes.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dashed: bool = False


@dataclasses.dataclass(frozen=True)
class Dot:
    """A value with its interval (None for none), in a series colour."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    colour: int = 0


@dataclasses.dataclass(frozen=True)
class DotRow:
    """One row of a dot chart.

    Attributes:
      label: at the left.
      dots: what is compared.
      mark: a short upright tick, for example chance level; None for none.
    """

    label: str
    dots: Sequence[Dot]
    mark: float | None = None


def ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Returns about `count` round numbers from `low` to `high`.

    >>> ticks(0, 10)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    >>> ticks(2.31, 2.94)
    [2.4, 2.6, 2.8]
    """
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def line_chart(lines: Sequence[Line], *, x_label: str, y_label: str, height: int = 260) -> str:
    """Returns lines over a common x axis; "" if there is no finite point.

    Args:
      lines: what to draw.
      x_label: name of the x axis.
      y_label: name of the y axis.
      height: in pixels; the width is that of its place.
    """
    kept = [(line, [p for p in line.points if all(map(math.isfinite, p))]) for line in lines]
    points = [point for _, found in kept for point in found]
    if not points:
        return ""
    (x_low, x_high), (y_low, y_high) = (
        _range([p[0] for p in points]),
        _range([p[1] for p in points]),
    )
    margin = 0.05 * (y_high - y_low)
    y_low, y_high = y_low - margin, y_high + margin

    def x_at(x: float) -> float:
        return _LEFT + (x - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)

    def y_at(y: float) -> float:
        return height - _BOTTOM - (y - y_low) / (y_high - y_low) * (height - _TOP - _BOTTOM)

    parts = []
    for y in ticks(y_low, y_high):
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y_at(y):.1f}" '
            f'y2="{y_at(y):.1f}"/><text x="{_LEFT - 8}" y="{y_at(y) + 4:.1f}" '
            f'text-anchor="end">{_number(y)}</text>'
        )
    for x in ticks(x_low, x_high, count=7):
        parts.append(
            f'<text x="{x_at(x):.1f}" y="{height - _BOTTOM + 18}" '
            f'text-anchor="middle">{_number(x)}</text>'
        )
    for line, found in kept:
        path = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in found)
        dashes = ' stroke-dasharray="5 4"' if line.dashed else ""
        last = f"{line.name}: {_number(found[-1][1])} at {_number(found[-1][0])}" if found else ""
        parts.append(
            f'<polyline class="line" style="stroke:{_colour(line.colour)}"{dashes} '
            f'points="{path}"><title>{html.escape(last)}</title></polyline>'
        )
    parts.append(
        f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{height - 4}" '
        f'text-anchor="end">{html.escape(x_label)}</text>'
        f'<text class="axis" x="{_LEFT}" y="{height - 4}">{html.escape(y_label)}</text>'
    )
    drawn = [(line.name, line.colour, line.dashed) for line, found in kept if found]
    label = html.escape(f"{y_label} over {x_label}", quote=True)
    return _legend(drawn) + _svg("".join(parts), height=height, label=label)


def dot_chart(
    rows: Sequence[DotRow], *, x_label: str, mark_label: str = "", logarithmic: bool = False
) -> str:
    """Returns one row per label with its dots on a common scale; "" without rows.

    Args:
      rows: from top to bottom.
      x_label: name of the scale.
      mark_label: what the upright ticks are; "" if there are none.
      logarithmic: a log scale; then values must be positive.
    """
    scale = math.log10 if logarithmic else float
    values = [v for row in rows for dot in row.dots for v in (dot.value, dot.low, dot.high)]
    values += [row.mark for row in rows]
    finite = [
        v for v in values if v is not None and math.isfinite(v) and (v > 0 or not logarithmic)
    ]
    if not finite:
        return ""
    low = scale(min(finite)) if logarithmic else min(0.0, min(finite))
    high = scale(max(finite))
    low, high = _range([low, high])
    pitch = 18
    # About six pixels a letter; a label that is longer still is cut.
    left = 24 + 6 * min(_LABEL, max(len(row.label) for row in rows))
    height = _TOP + pitch * len(rows) + _BOTTOM

    def x_at(value: float) -> float:
        return left + (scale(value) - low) / (high - low) * (_WIDTH - left - _RIGHT - 8)

    parts = []
    for tick in _dot_ticks(low, high, logarithmic):
        x = x_at(tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>'
            f'<text x="{x:.1f}" y="{height - _BOTTOM + 18}" '
            f'text-anchor="middle">{_number(tick)}</text>'
        )
    for index, row in enumerate(rows):
        middle = _TOP + pitch * (index + 0.5)
        parts.append(
            f'<text x="{left - 10}" y="{middle + 4:.1f}" '
            f'text-anchor="end">{html.escape(_cut(row.label))}</text>'
        )
        if row.mark is not None and (row.mark > 0 or not logarithmic):
            x = x_at(row.mark)
            parts.append(
                f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{middle - 6:.1f}" '
                f'y2="{middle + 6:.1f}"><title>{html.escape(mark_label)} '
                f"{_number(row.mark)}</title></line>"
            )
        spread = min(4.0, 10.0 / max(len(row.dots), 1))
        for number, dot in enumerate(row.dots):
            if not math.isfinite(dot.value) or (logarithmic and dot.value <= 0):
                continue
            y = middle + spread * (number - (len(row.dots) - 1) / 2)
            parts.append(_dot(dot, row.label, y=y, x_at=x_at))
    parts.append(
        f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{height - 4}" '
        f'text-anchor="end">{html.escape(x_label)}</text>'
    )
    drawn = {dot.name: (dot.name, dot.colour, False) for row in rows for dot in row.dots}
    label = html.escape(x_label, quote=True)
    note = f'<span class="key"><i class="tick"></i>{html.escape(mark_label)}</span>'
    legend = _legend(list(drawn.values()), note if mark_label else "")
    return legend + _svg("".join(parts), height=height, label=label)


def _dot(dot: Dot, label: str, *, y: float, x_at) -> str:
    told, bar = f"{label}, {dot.name}: {_number(dot.value)}", ""
    has_interval = dot.low is not None and dot.high is not None
    if has_interval and math.isfinite(dot.low) and math.isfinite(dot.high):
        told += f" [{_number(dot.low)}, {_number(dot.high)}]"
        bar = (
            f'<line class="bar" style="stroke:{_colour(dot.colour)}" x1="{x_at(dot.low):.1f}" '
            f'x2="{x_at(dot.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    return (
        f"<g><title>{html.escape(told)}</title>{bar}"
        f'<circle style="fill:{_colour(dot.colour)}" cx="{x_at(dot.value):.1f}" cy="{y:.1f}" '
        f'r="3.2"/></g>'
    )


def _dot_ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    if not logarithmic:
        return ticks(low, high, count=6)
    factors = (1, 2, 5) if high - low < 3 else (1,)
    powers = range(math.floor(low), math.floor(high) + 1)
    found = [factor * 10.0**power for power in powers for factor in factors]
    return [tick for tick in found if 10.0**low <= tick <= 10.0**high]


def _cut(label: str) -> str:
    return label if len(label) <= _LABEL else label[: _LABEL - 1] + "…"


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _colour(number: int) -> str:
    return f"var(--series-{number % NUM_COLOURS})"


def _legend(entries: Sequence[tuple[str, int, bool]], more: str = "") -> str:
    keys = "".join(
        f'<span class="key"><i style="border-color:{_colour(colour)};'
        f'border-style:{"dashed" if dashed else "solid"}"></i>{html.escape(name)}</span>'
        for name, colour, dashed in entries
    )
    return f'<div class="legend">{keys}{more}</div>'


def _svg(content: str, *, height: int, label: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">{content}</svg>'


def _number(value: float) -> str:
    """Returns a short number: 12,000, 3.25, 0.0012."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"

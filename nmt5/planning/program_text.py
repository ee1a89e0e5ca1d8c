"""Collectives of a compiled program, from its text: which, how many, how many bytes.

XLA's cost analysis counts the body of a loop once, and a run with scanned layers spends its time in
loops. So the text is read: computations, what calls what, and how often a loop turns, which stands
in the loop's own condition (`compare(counter, constant), direction=LT`).

A TPU program writes one asynchronous collective several times (its start, the steps that overlap
with computation, its end) under one channel; within one computation tree a channel counts once.
"""

import collections
from collections.abc import Iterator, Mapping
import dataclasses
import math
import re

_KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "ragged-all-to-all",
)
DTYPE_BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "f8e4m3fn": 1, "f8e5m2": 1, "s16": 2,
    "u16": 2, "f16": 2, "bf16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8,
    "c64": 8, "c128": 16,
}  # fmt: skip
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_ARRAY = re.compile(r"\b([a-z]+\d*(?:e\dm\d\w*)?)\[([\d,]*)\]")
_OPCODE = re.compile(r" ([a-z][a-z0-9\-]*)\(")
_NAMES = re.compile(r"%([\w.\-]+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
    """One collective operation of a program.

    Attributes:
      kind: "all-gather", "all-reduce", "reduce-scatter", "all-to-all" or "collective-permute".
      shapes: dtype and dimensions of every result.
      group_size: devices that take part.
      times: how often a step runs it.
      where: the operation in the model's code that it comes from, as XLA noted it.
    """

    kind: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    group_size: int
    times: int
    where: str = ""

    @property
    def result_bytes(self) -> float:
        """Bytes of the result on one device."""
        return sum(DTYPE_BYTES.get(dtype, 4) * math.prod(dims) for dtype, dims in self.shapes)

    @property
    def sent_bytes(self) -> float:
        """Bytes that one device sends for it in a step, by the ring algorithm."""
        n, size = self.group_size, self.result_bytes
        each = {
            "all-gather": size * (n - 1) / n,
            "all-reduce": 2 * size * (n - 1) / n,
            "reduce-scatter": size * (n - 1),
            "collective-permute": size,
        }.get(self.kind, size * (n - 1) / n)
        return each * self.times


def collectives(text: str) -> list[Collective]:
    """Returns the collectives of a compiled program.

    Args:
      text: `compiled.as_text()`.
    """
    computations, entry = split_computations(text)
    found: list[Collective] = []
    seen: set[tuple[str, str]] = set()
    for line, opcode, times, loop in executed(computations, entry, into_fusions=True):
        kind = opcode.removesuffix("-start")
        if kind in _KINDS:
            channel = re.search(r"channel_id=(\d+)", line)
            key = (loop, channel.group(1)) if channel else (loop, line)
            if key not in seen:
                seen.add(key)
                found.append(_collective(line, kind, opcode, times))
    return found


def executed(
    computations: Mapping[str, list[str]], entry: str, *, into_fusions: bool
) -> Iterator[tuple[str, str, int, str]]:
    """Yields `(line, opcode, times, loop)` of every instruction that a step runs.

    Args:
      computations: `{name: lines}`.
      entry: name of the one that runs first.
      into_fusions: follows what fusions, asynchronous and custom calls are made of, too.
    """
    inside = ("fusion", "async-start", "custom-call") if into_fusions else ()

    def walk(name: str, times: int, loop: str) -> Iterator[tuple[str, str, int, str]]:
        for line in computations.get(name, ()):
            match = _OPCODE.search(without_shape(line))
            opcode = match.group(1) if match else ""
            if opcode == "while":
                (condition,), (body,) = called(line, "condition"), called(line, "body")
                yield from walk(body, times * _turns(line, computations.get(condition, ())), body)
            elif opcode == "conditional":
                # One branch runs; the longest program stands for it.
                branches = called(line, "branch_computations") or (
                    called(line, "true_computation") + called(line, "false_computation")
                )
                sizes = {branch: _size(branch, computations) for branch in branches}
                yield from walk(max(sizes, key=lambda branch: sizes[branch]), times, loop)
            elif opcode == "call":
                for part in called(line, "to_apply") + called(line, "calls"):
                    yield from walk(part, times, loop)
            else:
                yield line, opcode, times, loop
                if opcode in inside:
                    for part in called(line, "calls"):
                        yield from walk(part, times, loop)

    yield from walk(entry, 1, "")


def totals(found: list[Collective]) -> Mapping[str, tuple[int, float]]:
    """Returns `{kind: (operations in a step, bytes that a device sends)}`, most bytes first."""
    counts: dict[str, list[float]] = collections.defaultdict(lambda: [0, 0.0])
    for one in found:
        counts[one.kind][0] += one.times
        counts[one.kind][1] += one.sent_bytes
    ordered = sorted(counts.items(), key=lambda item: -item[1][1])
    return {kind: (int(number), size) for kind, (number, size) in ordered}


def split_computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Returns `{name: lines}` of a program's computations, and the name of the first to run."""
    computations: dict[str, list[str]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if current is None:
            if line.endswith("{") and (match := _HEADER.match(line)):
                current = computations.setdefault(match.group(2), [])
                entry = match.group(2) if match.group(1) else entry
        elif line.startswith("}"):
            current = None
        elif " = " in line:
            current.append(line)
    return computations, entry


def without_shape(line: str) -> str:
    """Returns ` opcode(operands), attributes` of an instruction; a tuple's shape has brackets."""
    rest = line.split(" = ", 1)[1]
    if not rest.startswith("("):
        return " " + rest.split(" ", 1)[-1]
    depth = 0
    for place, character in enumerate(rest):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return rest[place + 1 :]
    return rest


def called(line: str, attribute: str) -> tuple[str, ...]:
    """Returns the names of computations that an instruction's attribute has."""
    match = re.search(rf"\b{attribute}=(\{{[^}}]*\}}|%?[\w.\-]+)", line)
    if not match:
        return ()
    names = _NAMES.findall(match.group(1))
    return tuple(names) or (match.group(1).strip("{}%"),)


def _size(name: str, computations: Mapping[str, list[str]]) -> int:
    lines = computations.get(name, ())
    return len(lines) + sum(
        _size(part, computations)
        for line in lines
        for attribute in ("calls", "body")
        for part in called(line, attribute)
    )


def _turns(line: str, condition: list[str] | tuple[()]) -> int:
    """Returns how often a loop turns: what its text says, else the bound in its condition.

    A loop whose number of turns depends on data counts once.
    """
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', line):
        return int(known.group(1))
    bounds = {
        int(match.group(1))
        for text in condition
        if (match := re.search(r"= [su]32\[\][^ ]* constant\((\d+)\)", text))
    }
    return bounds.pop() if len(bounds) == 1 else 1


def _collective(line: str, kind: str, opcode: str, times: int) -> Collective:
    rest = without_shape(line)
    shape = line.split(" = ", 1)[1].removesuffix(rest)
    shapes = tuple(_shapes(shape))
    if opcode.endswith("-start") and kind in ("all-gather", "collective-permute", "all-to-all"):
        # (operands, results, and on some backends two counters)
        arrays = [one for one in shapes if one[1]] or list(shapes)
        shapes = tuple(arrays[len(arrays) // 2 :])
    where = re.search(r'op_name="([^"]*)"', line)
    return Collective(
        kind=kind,
        shapes=shapes,
        group_size=_group_size(rest),
        times=times,
        where=where.group(1) if where else "",
    )


def _shapes(text: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for dtype, dims in _ARRAY.findall(text):
        if dtype in DTYPE_BYTES:
            yield dtype, tuple(int(size) for size in dims.split(",") if size)


def _group_size(text: str) -> int:
    if match := re.search(r"replica_groups=\{\{([\d,]*)\}", text):
        return len(match.group(1).split(","))
    if match := re.search(r"replica_groups=\[(\d+),(\d+)\]", text):
        return int(match.group(2))
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}", text):
        sizes = dict(re.findall(r"'([^']*)'=(\d+)", match.group(1)))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'([^']*)'", match.group(2)))
    return 2  # collective-permute: every device sends to one other

"""Bytes that a device moves to and from its main memory in a step, from its program's text.

XLA's own count takes the body of a loop once, and a step with scanned layers is loops. Here every
instruction counts as often as it runs: what it reads and what it writes, arrays in other memory
spaces (`S(1)`, a TPU's on-chip memory) left out, and of an array that is only cut or of which a
part is replaced in place, that part. What hardware caches or a kernel reads twice is not known.
"""

from collections.abc import Mapping
import math
import re

from nmt5.planning.program_text import (
    DTYPE_BYTES,
    called,
    executed,
    split_computations,
    without_shape,
)

_ARRAY = re.compile(r"\b([a-z]+\d*(?:e\dm\d\w*)?)\[([\d,]*)\](\{[^}]*\})?")
_NAME = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = ")
_OPERANDS = re.compile(r"%([\w.\-]+)")
_MOVES_NOTHING = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier",
    "partition-id", "replica-id", "iota", "add-dependency", "domain", "get-dimension-size", "",
}  # fmt: skip
_VIEWS = {"AllocateBuffer", "ConcatBitcast", "SliceBitcast", "Sharding"}
_CUTS = {"dynamic-slice", "slice", "gather"}


def moved_bytes(text: str) -> float:
    """Returns bytes read plus bytes written by one device in a step.

    Args:
      text: the optimised program, as `compiled.as_text()` or XLA's dump has it.
    """
    computations, entry = split_computations(text)
    sizes = {
        match.group(1): _size_in_memory(_shape(line))
        for lines in computations.values()
        for line in lines
        if (match := _NAME.match(line))
    }
    total = 0.0
    for line, opcode, times, _ in executed(computations, entry, into_fusions=False):
        total += times * _moved(line, opcode, sizes, computations)
    return total


def _moved(line, opcode, sizes, computations) -> float:
    if opcode in _MOVES_NOTHING or opcode.endswith(("-done", "-update")):
        return 0.0
    if opcode == "custom-call" and any(f'"{view}"' in line for view in _VIEWS):
        return 0.0
    written, operands = _size_in_memory(_shape(line)), _operands(line)
    if opcode == "copy-start":
        return written  # its shape has both ends
    if opcode in _CUTS:
        return written + min(written or math.inf, _whole(operands[:1], sizes))
    if opcode == "dynamic-update-slice":
        return 2 * _whole(operands[1:2], sizes)
    if opcode == "async-start":
        inner = [one for part in called(line, "calls") for one in computations.get(part, ())]
        if any(f" {cut}(" in one for one in inner for cut in _CUTS):
            (*_, result), source = _parts(_shape(line)), _whole(operands[:1], sizes)
            return result[1] + (min(result[0], source) if source else 0.0)
        return written
    if opcode == "fusion":
        body = [one for part in called(line, "calls") for one in computations.get(part, ())]
        return _moved_by_fusion(body, operands, written, sizes)
    return written + _whole(operands, sizes)


def _moved_by_fusion(body, operands, written, sizes) -> float:
    """Counts parts of operands that a fusion only cuts, and of results that it changes in place."""
    names = {}
    for line in body:
        if match := re.match(r"^\s*(?:ROOT )?%?([\w.\-]+) = .* parameter\((\d+)\)", line):
            names[match.group(1)] = int(match.group(2))
    read: dict[int, float] = {}
    for line in body:
        opcode = _opcode(line)
        for place, name in enumerate(_operands(line)):
            if name not in names or names[name] >= len(operands):
                continue
            whole = sizes.get(operands[names[name]], 0.0)
            if opcode in _CUTS and place == 0:
                part = min(whole, _bytes(_shape(line)))
            elif opcode == "dynamic-update-slice" and place == 0:
                part = 0.0
                # Written in place: the update instead of the whole.
                written -= max(0.0, min(written, whole) - _bytes_of(_operands(line)[1], body))
            else:
                part = whole
            read[names[name]] = max(read.get(names[name], 0.0), part)
    return written + sum(read.values())


def _bytes_of(name, body) -> float:
    for line in body:
        if (match := _NAME.match(line)) and match.group(1) == name:
            return _bytes(_shape(line))
    return 0.0


def _whole(operands, sizes: Mapping[str, float]) -> float:
    return sum(sizes.get(name, 0.0) for name in operands)


def _shape(line: str) -> str:
    return line.split(" = ", 1)[1].removesuffix(without_shape(line))


def _opcode(line: str) -> str:
    match = re.search(r" ([a-z][a-z0-9\-]*)\(", without_shape(line))
    return match.group(1) if match else ""


def _operands(line: str) -> list[str]:
    """Returns the names between the opcode's brackets."""
    rest = without_shape(line)
    start, depth = rest.find("("), 0
    for place in range(start, len(rest)):
        depth += (rest[place] == "(") - (rest[place] == ")")
        if depth == 0:
            return _OPERANDS.findall(rest[start:place])
    return []


def _parts(shape: str) -> list[tuple[float, float]]:
    """Returns `(bytes, bytes of it in the main memory)` of each array that has dimensions."""
    found = []
    for dtype, dims, layout in _ARRAY.findall(shape):
        if dtype in DTYPE_BYTES and dims:
            size = DTYPE_BYTES[dtype] * math.prod(int(length) for length in dims.split(","))
            found.append((size, 0.0 if "S(" in layout else size))
    return found


def _bytes(shape: str) -> float:
    return sum(size for size, _ in _parts(shape))


def _size_in_memory(shape: str) -> float:
    return sum(size for _, size in _parts(shape))

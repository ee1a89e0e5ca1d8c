"""PyTorch's state dict pickles, read as data: no pickle is executed.

A state dict is a pickle that calls a handful of functions to rebuild tensors. This reader does not
use `pickle.Unpickler` at all: `pickletools.genops` decodes the opcodes, and a small stack machine
understands just those that state dicts consist of. A global name is an inert string here; calling
any but the listed ones is an error, so nothing that a file says is ever imported or run.

Source:
  https://github.com/pytorch/pytorch/blob/v2.6.0/torch/_weights_only_unpickler.py
"""

from collections.abc import Callable, Mapping
import dataclasses
import math
import pickletools
from typing import Any, BinaryIO

from nmt5.checkpoints.tensors import checked_shape
from nmt5.core.errors import CheckpointError

_MAX_OPS = 20_000_000
_STORAGE_DTYPES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Global:
    """A name that a pickle mentions; never looked up."""

    name: str


@dataclasses.dataclass(frozen=True)
class Storage:
    """A flat array kept outside of the pickle."""

    key: str
    dtype: str
    num_elements: int


@dataclasses.dataclass(frozen=True)
class PickledTensor:
    """A view of a storage."""

    storage: Storage
    offset_elements: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def storage_axes(tensor: PickledTensor, *, where: str) -> tuple[int, ...] | None:
    """Returns the order in which a tensor's axes are stored; None if C order.

    Args:
      tensor: the view.
      where: its name in messages.

    Raises:
      CheckpointError: elements are shared or skipped, so that the tensor is no dense block.
    """
    axes = sorted(range(len(tensor.shape)), key=lambda a: (-tensor.strides[a], a))
    axes = [a for a in axes if tensor.shape[a] != 1] or axes
    expected = 1
    if 0 not in tensor.shape:
        for axis in reversed(axes):
            if tensor.strides[axis] != expected and tensor.shape[axis] != 1:
                raise CheckpointError(
                    f"{where}: strides {list(tensor.strides)} of shape {list(tensor.shape)} do not "
                    "make a dense tensor; save a contiguous copy"
                )
            expected *= tensor.shape[axis]
    ones = [a for a in range(len(tensor.shape)) if a not in axes]
    order = tuple(ones + axes)
    dense = [a for a in order if tensor.shape[a] != 1]
    return None if dense == sorted(dense) else order


def read_state_dict(stream: BinaryIO, *, where: str) -> Any:
    """Returns the value of one pickle, with tensors as `PickledTensor`s.

    Args:
      stream: positioned at the pickle; afterwards behind it.
      where: the file in messages.

    Returns:
      Dictionaries, lists, tuples, strings, numbers, `PickledTensor`s.

    Raises:
      CheckpointError: not a pickle, or one that does more than a state dict needs.
    """
    try:
        return _Machine(where).run(stream)
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, EOFError) as error:
        raise CheckpointError(f"{where}: damaged pickle ({str(error)[:200]})") from error
    except (RecursionError, MemoryError) as error:
        raise CheckpointError(f"{where}: damaged pickle ({type(error).__name__})") from error


class _Mark:
    pass


_MARK = _Mark()


class _Machine:
    """A stack machine for the opcodes of protocols 2 to 4 that state dicts consist of."""

    def __init__(self, where: str):
        self.where = where
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def refuse(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self.where}: the pickle wants to {what}; only tensors and plain values are read, "
            "nothing in a checkpoint is ever executed. Save the weights as safetensors"
        )

    def run(self, stream: BinaryIO) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > _MAX_OPS:
                raise ValueError("too many opcodes")
            name = opcode.name
            if name == "STOP":
                value = self.stack.pop()
                if value is _MARK:
                    raise ValueError("ends in a mark")
                return value
            if name in _PUSHED:
                self.stack.append(argument)
            elif name in _FIXED:
                self.stack.append(_FIXED[name]())
            elif name in _HANDLERS:
                _HANDLERS[name](self, argument)
            else:
                raise self.refuse(f"use opcode {name}")
        raise ValueError("ends without STOP")

    def pop_to_mark(self) -> list:
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is _MARK:
                items = self.stack[position + 1 :]
                del self.stack[position:]
                return items
        raise ValueError("no mark on the stack")

    def tuple_of(self, count: int) -> None:
        if count > len(self.stack):
            raise ValueError("stack too short")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.stack.append(items)

    def set_items(self, pairs: list) -> None:
        table = self.stack[-1]
        if not isinstance(table, dict) or len(pairs) % 2:
            raise ValueError("items set on no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, (str, int)):
                raise ValueError(f"key {str(key)[:50]!r}")
            table[key] = value

    def append(self, items: list) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError("append to no list")
        target.extend(items)

    def reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise ValueError("call of no function")
        if function.name not in _CALLS:
            raise self.refuse(f"call {function.name}")
        self.stack.append(_CALLS[function.name](arguments))

    def build(self) -> None:
        # State set on an OrderedDict, such as a state dict's _metadata: not needed.
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise self.refuse("set the state of an object")

    def persistent(self, identifier: Any) -> Storage:
        if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
            raise ValueError("unknown persistent id")
        _, kind, key, _, num_elements = identifier[:5]
        kind = kind.name.rsplit(".", 1)[-1] if isinstance(kind, Global) else str(kind)
        if kind not in _STORAGE_DTYPES:
            raise CheckpointError(f"{self.where}: storage type {kind[:60]!r} is not supported")
        if not isinstance(num_elements, int) or num_elements < 0:
            raise ValueError("storage size")
        return Storage(str(key), _STORAGE_DTYPES[kind], num_elements)


def _tensor(arguments: tuple) -> PickledTensor:
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage) or not isinstance(offset, int) or offset < 0:
        raise ValueError("tensor without storage")
    shape = checked_shape(shape, where="tensor")
    strides = checked_shape(strides, where="strides") if 0 not in strides else tuple(strides)
    if len(strides) != len(shape) or any(not isinstance(n, int) or n < 0 for n in strides):
        raise ValueError("strides")
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= storage.num_elements:
        raise ValueError(f"tensor of shape {list(shape)} leaves its storage")
    return PickledTensor(storage, offset, shape, strides)


def _ordered_dict(arguments: tuple) -> dict:
    if arguments and arguments != ([],):
        raise ValueError("OrderedDict with items")
    return {}


_CALLS: Mapping[str, Callable[[tuple], Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_parameter": lambda arguments: arguments[0],
}
_PUSHED = frozenset((
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE",
    "BINSTRING", "SHORT_BINSTRING", "STRING", "BINBYTES", "SHORT_BINBYTES",
))  # fmt: skip
_FIXED: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "MARK": lambda: _MARK,
}  # fmt: skip


def _memoize(machine: _Machine, argument: Any) -> None:
    machine.memo[len(machine.memo) if argument is None else int(argument)] = machine.stack[-1]


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(Global(f"{module}.{name}"))


_HANDLERS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda m, _: None,
    "FRAME": lambda m, _: None,
    "GLOBAL": lambda m, a: m.stack.append(Global(a.replace(" ", "."))),
    "STACK_GLOBAL": _stack_global,
    "BINPERSID": lambda m, _: m.stack.append(m.persistent(m.stack.pop())),
    "REDUCE": lambda m, _: m.reduce(),
    "BUILD": lambda m, _: m.build(),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "SETITEM": lambda m, _: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m, _: m.set_items(m.pop_to_mark()),
    "APPEND": lambda m, _: m.append([m.stack.pop()]),
    "APPENDS": lambda m, _: m.append(m.pop_to_mark()),
    "POP": lambda m, _: m.stack.pop(),
    "PUT": _memoize,
    "BINPUT": _memoize,
    "LONG_BINPUT": _memoize,
    "MEMOIZE": _memoize,
    "GET": lambda m, a: m.stack.append(m.memo[int(a)]),
    "BINGET": lambda m, a: m.stack.append(m.memo[a]),
    "LONG_BINGET": lambda m, a: m.stack.append(m.memo[a]),
}

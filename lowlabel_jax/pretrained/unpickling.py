"""The pickles of torch.save, read without `pickle`: nothing that they name is imported or called.

A pickle is a program for a stack machine that may call whatever can be imported. Here the machine
is our own: it knows the instructions and the names that a state_dict needs, a name is a plain word
to it, and what would be calls make records. Everything else is refused by its name.
"""

import pickletools
from typing import Any, NamedTuple

from lowlabel_jax.core.errors import UserError

STORAGES = {  # what a storage's class is called -> the type of its numbers
    "torch DoubleStorage": "<f8", "torch FloatStorage": "<f4", "torch HalfStorage": "<f2",
    "torch BFloat16Storage": "bfloat16", "torch LongStorage": "<i8", "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2", "torch CharStorage": "i1", "torch ByteStorage": "u1",
    "torch BoolStorage": "?",
}  # fmt: skip
NAMES = {
    *("collections OrderedDict", "torch Size"),
    *("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"),
    *STORAGES,
}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NUMBERS_AND_WORDS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
CONVERT = "convert it where PyTorch is: safetensors.torch.save_file(torch.load(FILE), NEW)."
TRUST = "only if you trust its source: torch.load(FILE, weights_only=False) where PyTorch is, and "
TRUST += "safetensors.torch.save_file of the state_dict in it."


class Name(NamedTuple):
    """A global that the file names: a word here, never the thing itself."""

    word: str  # "module attribute"


class Storage(NamedTuple):
    """A run of `count` numbers that lies beside the pickle as `key`."""

    dtype: str
    key: str
    count: int


class Tensor(NamedTuple):
    """A window onto a storage, counted in numbers; what it says is not checked yet."""

    storage: Storage
    offset: Any
    shape: Any
    strides: Any


def unpickle(data: bytes) -> Any:
    """What a pickle holds, as dicts, lists, tuples, words, numbers and `Tensor`s.

    Raises UserError for an instruction or a name that is not on this file's lists, and for a
    program that makes no sense.
    """
    machine = Machine()
    for operation, argument, _ in pickletools.genops(data):
        if operation.name == "STOP":
            return machine.pop()
        machine.step(operation.name, argument)
    raise UserError("its pickle does not end.")


class Machine:
    """The stack, the places of its marks, and the memory."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memory: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """One instruction. Raises UserError where it is not one of those below."""
        if name in NUMBERS_AND_WORDS:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in TUPLES:
            self.stack.append(tuple([self.pop() for _ in range(TUPLES[name])][::-1]))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memory[argument] = self.top(object)
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memory[argument])
        elif hasattr(self, f"do_{name.lower()}"):
            getattr(self, f"do_{name.lower()}")(argument)
        elif name != "PROTO":
            raise UserError(f"its pickle uses {name}, which weights do not need.", CONVERT)

    def pop(self) -> Any:
        """Take the last value. Raises UserError where there is none since the last mark."""
        self.top(object)
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """The last value, which stays. Raises UserError where there is none of this kind."""
        here = len(self.stack) > (self.marks[-1] if self.marks else 0)
        if not here or not isinstance(self.stack[-1], kind):
            raise UserError("its pickle does not fit together.")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        """Take the last mark, and the values since. Raises IndexError where there is no mark."""
        start = self.marks.pop()
        taken, self.stack[start:] = self.stack[start:], []
        return taken

    def do_mark(self, _: Any) -> None:
        """Remember how high the stack is."""
        self.marks.append(len(self.stack))

    def do_tuple(self, _: Any) -> None:
        """A tuple of what came since the mark."""
        self.stack.append(tuple(self.since_mark()))

    def do_empty_dict(self, _: Any) -> None:
        """A dict to fill."""
        self.stack.append({})

    def do_empty_list(self, _: Any) -> None:
        """A list to fill."""
        self.stack.append([])

    def do_append(self, _: Any) -> None:
        """One value more in a list."""
        value = self.pop()
        self.top(list).append(value)

    def do_appends(self, _: Any) -> None:
        """Values since the mark into a list."""
        values = self.since_mark()
        self.top(list).extend(values)

    def do_setitem(self, _: Any) -> None:
        """One key and value into a dict."""
        value, key = self.pop(), self.pop()
        _set(self.top(dict), [key, value])

    def do_setitems(self, _: Any) -> None:
        """Key, value, key, value, .. since the mark into a dict."""
        pairs = self.since_mark()
        _set(self.top(dict), pairs)

    def do_build(self, _: Any) -> None:
        """Attributes for an object (a state_dict's versions): none is set."""
        self.pop()
        self.top(object)

    def do_global(self, word: str) -> None:
        """A name, if it is one of `NAMES`."""
        if word not in NAMES:
            raise UserError(
                f"it asks for {word.replace(' ', '.')}, which no weights need: nothing was run.",
                TRUST,
            )
        self.stack.append(Name(word))

    def do_binpersid(self, _: Any) -> None:
        """("storage", class, key, device, count) as a Storage."""
        match self.pop():
            case ("storage", Name(word), str(key), str(), int(count)) if word in STORAGES:
                self.stack.append(Storage(STORAGES[word], key, count))
            case _:
                raise UserError("its pickle refers to something that is no storage of numbers.")

    def do_reduce(self, _: Any) -> None:
        """What torch.save would have called, as the record that stands for it."""
        arguments, name = self.pop(), self.pop()
        match name, arguments:
            case Name("collections OrderedDict"), ():
                made = {}
            case Name("torch Size"), ((list() | tuple()) as sizes,):
                made = tuple(sizes)
            case Name("torch._utils _rebuild_tensor_v2"), (Storage() as held, start, shape, by, *_):
                made = Tensor(held, start, shape, by)
            case Name("torch._utils _rebuild_parameter"), (Tensor() as made, *_):
                pass
            case _:
                raise UserError("its pickle calls a name with what does not belong to it.")
        self.stack.append(made)


def _set(target: dict, pairs: list[Any]) -> None:
    """Fill a dict. Raises UserError for a key that comes twice or is neither word nor number."""
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if type(key) not in (str, int):
            raise UserError("its pickle has a dict with a key that is no word.")
        if key in target:
            raise UserError(f"it holds {key!r} twice.")
        target[key] = value

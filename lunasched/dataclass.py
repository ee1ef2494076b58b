"""The standard library's ``dataclass``, at a tenth of what a frozen one costs at the start.

The standard library writes up to six methods for each frozen class, and compiles them when the
class is made. A command makes a hundred classes and has instances of half of them: methods that
nothing called took a quarter of the processor time of ``list`` and ``add``. Here ``__init__`` is
compiled for a class of which there are more than a few instances, the fields are described when
somebody asks for them, and the other methods are the same for all classes.

All else (``fields``, ``replace``, ``asdict``, pattern matching) is the standard library's.
"""

from __future__ import annotations

import dataclasses
import sys
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, kw_only=False, order=False):
        """Make a dataclass, as ``dataclasses.dataclass``: one that is not frozen is that."""

        def made(cls: type) -> type:
            if not frozen or order:
                return dataclasses.dataclass(
                    frozen=frozen, slots=slots, kw_only=kw_only, order=order
                )(cls)
            return _frozen(cls, has_slots=slots, kw_only=kw_only)

        return made if cls is None else made(cls)


def _frozen(cls: Any, *, has_slots: bool, kw_only: bool) -> type:
    # Annotations are text: each module has it so (test_dataclass).
    types: dict[str, str] = vars(cls).get("__annotations__", {})
    if sys.version_info >= (3, 14):  # where a class has none of its bases'
        types = cls.__annotations__
    own = {
        name: _Usual(vars(cls).get(name, dataclasses.MISSING), kw_only)
        for name, text in types.items()
        if not text.startswith("ClassVar")
    }
    described = _Described(types, own)
    described.of = cls = _with_slots(cls, own) if has_slots else _without_defaults(cls, own)
    every: dict[str, _Usual] = {}
    for base in cls.__mro__[:0:-1]:
        every |= vars(base).get("_usual", {})
    every |= own
    compared = [name for name, usual in every.items() if usual.field is None or usual.field.compare]
    positional = [name for name, usual in every.items() if usual.is_given and not usual.kw_only]
    methods = {
        **_METHODS, "__init__": _init_on_demand(cls), "__match_args__": tuple(positional),
    }  # fmt: skip
    for name, method in methods.items():
        if name not in vars(cls):
            setattr(cls, name, method)
    cls._usual = own
    cls._every = every
    cls._compared = _tuple_of(compared)
    for word in ("__dataclass_fields__", "__dataclass_params__"):
        setattr(cls, word, _Description(described, word))
    return cls  # type: ignore[no-any-return]


class _Usual:
    """What is known of a field: its default, or what the class says of it (``field()``)."""

    __slots__ = ("default", "factory", "field", "kw_only")

    def __init__(self, value: Any, kw_only: bool) -> None:
        self.field = value if isinstance(value, dataclasses.Field) else None
        self.default = value if self.field is None else self.field.default
        self.factory = dataclasses.MISSING if self.field is None else self.field.default_factory
        asked = dataclasses.MISSING if self.field is None else self.field.kw_only
        self.kw_only = kw_only if asked is dataclasses.MISSING else asked
        if self.field is not None:
            self.field.kw_only = self.kw_only

    @property
    def is_given(self) -> bool:
        """True if it is a parameter of ``__init__``."""
        return self.field is None or self.field.init


class _Described:
    """What the standard library says of a class, once somebody asks for it."""

    def __init__(self, types: dict[str, str], own: dict[str, _Usual]) -> None:
        self.of: Any = None
        self._types = types
        self._own = own

    def describe(self) -> None:
        """Give the class its attributes."""
        found: dict[str, Any] = {}
        for base in self.of.__mro__[:0:-1]:
            found |= getattr(base, "__dataclass_fields__", {})
        said: dict[str, Any] = {
            name: dataclasses.field(default=usual.default, kw_only=usual.kw_only)
            if usual.field is None
            else usual.field
            for name, usual in self._own.items()
        }
        named = {"__module__": self.of.__module__, "__annotations__": self._types}
        model: Any = type(self.of.__name__, (), {**named, **said})
        model = dataclasses.dataclass(init=False, repr=False, eq=False, frozen=True)(model)
        self.of.__dataclass_fields__ = found | model.__dataclass_fields__
        self.of.__dataclass_params__ = model.__dataclass_params__


class _Description:
    """An attribute that is made for all of them."""

    def __init__(self, described: _Described, word: str) -> None:
        self._described = described
        self._word = word

    def __get__(self, instance: object, owner: type) -> Any:
        self._described.describe()
        return vars(self._described.of)[self._word]


def _with_slots(cls: Any, own: dict[str, _Usual]) -> Any:
    """The same class with a slot for each of its fields."""
    taken = {name for base in cls.__mro__[1:] for name in getattr(base, "__slots__", ())}
    said = {
        name: value
        for name, value in vars(cls).items()
        if name not in own and name not in ("__dict__", "__weakref__")
    }
    said["__slots__"] = tuple(name for name in own if name not in taken)
    made = type(cls)(cls.__name__, cls.__bases__, said)
    made.__qualname__ = cls.__qualname__
    return made


def _without_defaults(cls: Any, own: dict[str, _Usual]) -> Any:
    """The same class without what only describes a field."""
    for name, usual in own.items():
        if usual.default is not dataclasses.MISSING:
            setattr(cls, name, usual.default)
        elif usual.field is not None:
            delattr(cls, name)
    return cls


def _tuple_of(names: list[str]) -> staticmethod[[Any], tuple[Any, ...]]:
    """What gets the values of fields from an instance."""
    if len(names) > 1:
        return staticmethod(attrgetter(*names))
    return staticmethod(lambda one: tuple(getattr(one, name) for name in names))


def _init_on_demand(cls: Any) -> Callable[..., None]:
    """An ``__init__`` that has the real one compiled for a class of more than a few instances."""
    left = _FEW

    def first(self: Any, *values: Any, **named: Any) -> None:
        nonlocal left
        left -= 1
        if left >= 0 and _filled(self, cls, values, named):
            return
        init = _init(cls)
        cls.__init__ = init
        init(self, *values, **named)

    return first


_FEW = 4
"""Compiling takes as long as to fill fifty instances without."""


def _filled(self: Any, cls: Any, values: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Give an instance its values; ``False`` where the arguments are not those of its fields."""
    given = dict(zip(cls.__match_args__, values, strict=False))
    if len(given) < len(values) or given.keys() & named.keys():
        return False
    given |= named
    for name, usual in cls._every.items():
        if usual.is_given and name in given:
            value = given.pop(name)
        elif usual.factory is not dataclasses.MISSING:
            value = usual.factory()
        elif usual.default is not dataclasses.MISSING:
            value = usual.default
        elif usual.is_given:
            return False
        else:
            continue
        object.__setattr__(self, name, value)
    if given:
        return False
    if hasattr(self, "__post_init__"):
        self.__post_init__()
    return True


def _init(cls: Any) -> Callable[..., None]:
    """The ``__init__`` that the standard library would write."""
    words: dict[str, Any] = {"_set": object.__setattr__, "_made": _MADE}
    positional: list[str] = ["self"]
    named: list[str] = []
    body: list[str] = []
    for name, usual in cls._every.items():
        value, given = name, name
        if usual.factory is not dataclasses.MISSING:
            words[f"_make_{name}"] = usual.factory
            made, given = f"_make_{name}()", f"{name}=_made"
            value = f"{made} if {name} is _made else {name}" if usual.is_given else made
        elif usual.default is not dataclasses.MISSING:
            words[f"_usual_{name}"] = usual.default
            value, given = name if usual.is_given else f"_usual_{name}", f"{name}=_usual_{name}"
        elif not usual.is_given:
            continue
        if usual.is_given:
            (named if usual.kw_only else positional).append(given)
        body.append(f" _set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        body.append(" self.__post_init__()")
    parameters = ", ".join([*positional, *(["*"] if named else []), *named])
    exec("\n".join([f"def __init__({parameters}):", *(body or [" pass"])]), words)
    init: Callable[..., None] = words["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


_MADE = object()
"""The value of an argument that is not given, for a default that is made each time."""


def _repr(self: Any) -> str:
    shown = (one.name for one in dataclasses.fields(self) if one.repr)
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
    return f"{type(self).__qualname__}({values})"


def _eq(self: Any, other: Any) -> bool:
    if type(self) is not type(other):
        return NotImplemented  # type: ignore[no-any-return]
    get = self._compared
    return bool(get(self) == get(other))


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _setattr(self: Any, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _reduce(self: Any) -> tuple[Any, ...]:
    values = tuple(getattr(self, one.name) for one in dataclasses.fields(self))
    return _restored, (type(self), values)


def _restored(cls: type, values: tuple[Any, ...]) -> Any:
    """An instance of ``cls`` with the values of its fields: what copies and pickles are made of."""
    restored: Any = object.__new__(cls)
    for one, value in zip(dataclasses.fields(restored), values, strict=True):
        object.__setattr__(restored, one.name, value)
    return restored


_METHODS = {
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
    "__setattr__": _setattr,
    "__delattr__": _delattr,
    "__reduce__": _reduce,
}

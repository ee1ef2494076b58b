"""The standard library's ``dataclass``, at a fifth of what a frozen one costs at the start.

The standard library writes up to six methods for each frozen class, and compiles them when the
class is made. A command makes a hundred classes and has instances of half of them: methods that
nothing called took a quarter of the processor time of ``list`` and ``add``. Here ``__init__`` is
compiled when a class has its first instance, and the other methods are the same for all classes.

All else (``fields``, ``replace``, ``asdict``, pattern matching) is the standard library's.
"""

from __future__ import annotations

import dataclasses
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
            own = cls.__dict__.keys()
            added = {name: method for name, method in _METHODS.items() if name not in own}
            cls = dataclasses.dataclass(
                init=False, repr=False, eq=False, slots=slots, kw_only=kw_only
            )(cls)
            for name, method in added.items():
                setattr(cls, name, method)
            compared = [one.name for one in dataclasses.fields(cls) if one.compare]
            cls._compared = _tuple_of(compared)
            if "__init__" not in own:
                cls.__init__ = _init_on_demand(cls)
            return cls

        return made if cls is None else made(cls)


def _tuple_of(names: list[str]) -> staticmethod[[Any], tuple[Any, ...]]:
    """What gets the values of fields from an instance."""
    if len(names) > 1:
        return staticmethod(attrgetter(*names))
    return staticmethod(lambda one: tuple(getattr(one, name) for name in names))


def _init_on_demand(cls: type) -> Callable[..., None]:
    """An ``__init__`` that puts the real one in its place when it is first called."""

    def first(self: Any, *values: Any, **named: Any) -> None:
        init = _init(cls)
        cls.__init__ = init  # type: ignore[misc]
        init(self, *values, **named)

    return first


def _init(cls: Any) -> Callable[..., None]:
    """The ``__init__`` that the standard library would write."""
    words: dict[str, Any] = {"_set": object.__setattr__, "_made": _MADE}
    positional: list[str] = ["self"]
    named: list[str] = []
    body: list[str] = []
    for one in dataclasses.fields(cls):
        name = one.name
        value, given = name, name
        if one.default_factory is not dataclasses.MISSING:
            words[f"_make_{name}"] = one.default_factory
            made, given = f"_make_{name}()", f"{name}=_made"
            value = f"{made} if {name} is _made else {name}" if one.init else made
        elif one.default is not dataclasses.MISSING:
            words[f"_usual_{name}"] = one.default
            value, given = name if one.init else f"_usual_{name}", f"{name}=_usual_{name}"
        elif not one.init:
            continue
        if one.init:
            (named if one.kw_only else positional).append(given)
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

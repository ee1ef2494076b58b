"""Our dataclass beside that of the standard library: what one can tell of a class is the same."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import pickle
import pkgutil
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

import lunasched
from lunasched.dataclass import dataclass


def classes(make: Callable[..., Any]) -> dict[str, Any]:
    """Classes of each kind, made by one of the two."""

    @make(frozen=True, slots=True)
    class Plain:
        """One with defaults of each kind."""

        KIND: ClassVar[str] = "x"
        one: int
        two: str = "b"
        three: list[int] = dataclasses.field(default_factory=list, repr=False, compare=False)

        @property
        def double(self) -> int:
            return 2 * self.one

    @make(frozen=True, slots=True)
    class Derived(Plain):
        """One of more fields."""

        four: tuple[int, ...] = ()

        def __repr__(self) -> str:
            return "own"

    @make(frozen=True, slots=True, kw_only=True)
    class Named:
        """One whose fields are named, and that makes one of them itself."""

        one: int = 1
        made: str = dataclasses.field(init=False)
        usual: int = dataclasses.field(init=False, default=7)

        def __post_init__(self) -> None:
            object.__setattr__(self, "made", str(self.one))

    @make(frozen=True)
    class Open:
        """One without slots, and without fields."""

    @make(frozen=True, slots=True)
    class Single:
        """One of a single field, and an order of its own."""

        one: float

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    made = {each.__name__: each for each in (Plain, Derived, Named, Open, Single)}
    return {**made, "Ordered": ordered(make), "Changing": changing(make)}


def ordered(make: Callable[..., Any]) -> type:
    @make(frozen=True, slots=True, order=True)
    class Ordered:
        """One that has an order."""

        one: int

    return Ordered


def changing(make: Callable[..., Any]) -> type:
    @make
    class Changing:
        """One that is not frozen."""

        one: int

    return Changing


OURS, THEIRS = classes(dataclass), classes(dataclasses.dataclass)
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Plain", (1,), {}),
    ("Plain", (1, "c", [2]), {}),
    ("Plain", (1,), {"three": [3]}),
    ("Plain", (), {}),
    ("Plain", (1, 2, 3, 4), {}),
    ("Plain", (1,), {"none": 1}),
    ("Derived", (1, "b", [], (4,)), {}),
    ("Derived", (1,), {"four": (5,)}),
    ("Named", (), {}),
    ("Named", (), {"one": 5}),
    ("Named", (5,), {}),
    ("Named", (), {"made": "x"}),
    ("Open", (), {}),
    ("Open", (1,), {}),
    ("Single", (1.5,), {}),
    ("Ordered", (1,), {}),
    ("Changing", (1,), {}),
]


def told(cls: Any, values: tuple[Any, ...], named: dict[str, Any]) -> list[object]:
    """All that one can tell of an instance."""

    def outcome(action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:
            said = str(error) if isinstance(error, dataclasses.FrozenInstanceError) else ""
            return type(error).__name__, said

    made: Any = outcome(lambda: cls(*values, **named))
    if not isinstance(made, cls):
        return [made]
    other = cls(*values, **named)
    names = [one.name for one in dataclasses.fields(made)]
    return [
        repr(made).replace(cls.__qualname__.rpartition(".")[0], ""),
        names,
        {name: outcome(partial(getattr, made, name)) for name in names},
        made == other,
        made != other,
        made == (1,),
        outcome(lambda: made < other),
        outcome(lambda: hash(made) == hash(other)),
        outcome(lambda: len({made, other})),
        outcome(lambda: dataclasses.asdict(made)),
        outcome(lambda: dataclasses.replace(made, one=9) == made),
        outcome(lambda: setattr(made, "one", 8)),
        outcome(lambda: delattr(made, "one")),
        outcome(lambda: copy.copy(made) == made),
        outcome(lambda: copy.deepcopy(made) == made),
        cls.__match_args__,
        hasattr(made, "__dict__"),
        getattr(cls, "__slots__", None),
        outcome(lambda: made.double),
    ]


@pytest.mark.parametrize(("name", "values", "named"), CALLS)
def test_an_instance_is_the_same(name: str, values: tuple[Any, ...], named: dict[str, Any]) -> None:
    # The first of them are made in another way than those after.
    for ours in [classes(dataclass)[name], *[OURS[name]] * 4]:
        assert told(ours, values, named) == told(THEIRS[name], values, named)


def test_fields_tell_instances_apart() -> None:
    plain = OURS["Plain"]
    assert plain(1, "x", [1]) == plain(1, "x", [2]) != plain(1, "y", [1])
    assert len({plain(1, "x", [1]), plain(1, "x", [2]), plain(2, "x", [1])}) == 2
    assert plain(1) != OURS["Derived"](1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plain(1).none = 2


def of_package() -> Iterator[type]:
    """The frozen classes of the package."""
    for info in pkgutil.walk_packages(lunasched.__path__, "lunasched."):
        for one in vars(importlib.import_module(info.name)).values():
            if isinstance(one, type) and one.__module__ == info.name and "_compared" in vars(one):
                yield one


def test_the_classes_of_the_package_are_made_as_the_standard_library_would() -> None:
    found = list(of_package())
    assert len(found) > 200
    for cls in found:
        fields = [
            (
                one.name,
                one.type,
                dataclasses.field(
                    default=one.default,
                    default_factory=one.default_factory,
                    init=one.init,
                    kw_only=one.kw_only,
                ),
            )
            for one in dataclasses.fields(cls)
        ]
        twin = dataclasses.make_dataclass(cls.__name__, fields, frozen=True)
        for _ in range(9):  # until its __init__ is compiled
            with pytest.raises(TypeError):
                cls(*range(99))
        ours, theirs = (inspect.signature(vars(each)["__init__"]) for each in (cls, twin))

        def shape(signature: inspect.Signature) -> list[tuple[str, Any, bool]]:
            return [
                (each.name, each.kind, each.default is inspect.Parameter.empty)
                for each in signature.parameters.values()
            ]

        assert shape(ours) == shape(theirs), cls


@dataclass(frozen=True, slots=True)
class Kept:
    """One that can be imported by its name."""

    one: int
    two: str = "b"


def test_an_instance_survives_a_pickle() -> None:
    assert pickle.loads(pickle.dumps(Kept(1))) == Kept(1)


def test_a_class_of_the_standard_library_may_have_one_as_its_base() -> None:
    @dataclasses.dataclass(frozen=True)
    class More(Kept):
        three: int = 3

    assert dataclasses.asdict(More(1)) == {"one": 1, "two": "b", "three": 3}
    with pytest.raises(TypeError, match="non-frozen"):

        @dataclasses.dataclass
        class Changing(Kept):  # type: ignore[misc]
            three: int = 3


def test_no_module_takes_that_of_the_standard_library() -> None:
    """A class that is made by it costs each command that imports it a millisecond."""
    package = Path(lunasched.__file__).parent
    taking = re.compile(r"^from dataclasses import .*\bdataclass\b|dataclasses\.dataclass\b", re.M)
    found = {path.name for path in package.rglob("*.py") if taking.search(path.read_text())}
    assert found == {"dataclass.py"}

"""Questions about many units, to a manager on a bus of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
from gi.repository import Gio, GLib

from lunasched.systemd.bus import MANAGER, NAME, OBJECT, Bus, iterate
from lunasched.systemd.manager import Manager, UnitState
from lunasched.systemd.questions import Property, Questions

_INTERFACES = """<node><interface name="org.freedesktop.DBus.Properties">
<method name="Get"><arg type="s" direction="in"/><arg type="s" direction="in"/>
<arg type="v" direction="out"/></method></interface></node>"""
_LISTS = """<node><interface name="org.freedesktop.systemd1.Manager">
<method name="ListUnitsByPatterns"><arg type="as" direction="in"/><arg type="as" direction="in"/>
<arg type="a(ssssssouso)" direction="out"/></method></interface></node>"""
_NEVER = (1 << 64) - 1


class FakeManager:
    """Answers when it is let, and counts what it was asked."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.asked: list[str] = []
        self.held: list[Any] = []
        self.holds = False
        (interface,) = Gio.DBusNodeInfo.new_for_xml(_INTERFACES).interfaces
        for number in range(30):
            path = f"{OBJECT}/unit/a{number}_2etimer"
            connection.register_object(path, interface, self._called, None, None)
        parameters = GLib.Variant("(su)", (NAME, 0))
        connection.call_sync(
            "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName",
            parameters, None, Gio.DBusCallFlags.NONE, -1, None,
        )  # fmt: skip

    def _called(self, *said: Any) -> None:
        _, _, path, _, _, parameters, invocation = said
        self.asked.append(f"{path.rpartition('/')[2]} {parameters.unpack()[1]}")
        self.held.append(invocation)
        if not self.holds:
            self.answer()

    def answer(self) -> None:
        """Answer what is held; ActiveState of a7 with an error."""
        held, self.held = self.held, []
        for invocation in held:
            name = invocation.get_parameters().unpack()[1]
            if name == "ActiveState" and "/a7_" in invocation.get_object_path():
                invocation.return_dbus_error("org.freedesktop.systemd1.NoSuchUnit", "no")
            elif name == "ActiveState":
                invocation.return_value(GLib.Variant("(v)", (GLib.Variant("s", "active"),)))
            else:
                value = _NEVER if name == "NextElapseUSecMonotonic" else 5
                invocation.return_value(GLib.Variant("(v)", (GLib.Variant("t", value),)))

    def reloads(self, begins: bool) -> None:
        """Say that unit files are read from now on, or no more."""
        said = GLib.Variant("(b)", (begins,))
        self.connection.emit_signal(None, OBJECT, MANAGER, "Reloading", said)
        self.connection.flush_sync()


@pytest.fixture
def connect() -> Iterator[Callable[[], Any]]:
    bus = Gio.TestDBus.new(Gio.TestDBusFlags.NONE)
    bus.up()
    flags = (
        Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT
        | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
    )
    opened = []

    def connect() -> Any:
        address = bus.get_bus_address()
        opened.append(Gio.DBusConnection.new_for_address_sync(address, flags, None, None))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close_sync(None)
    bus.stop()


def units(count: int) -> list[str]:
    return [f"a{number}.timer" for number in range(count)]


def test_each_unit_is_told_of_with_what_was_asked(connect: Callable[[], Any]) -> None:
    manager = FakeManager(connect())
    told: dict[str, tuple[Any, ...]] = {}
    wanted = (Property.STATE, Property.SINCE, Property.NEXT_SINCE_BOOT)
    questions = Questions(Bus(connect()))
    questions.ask(units(20), wanted, lambda unit, said: told.update({unit: said}))
    iterate(lambda: len(told) == 19, 20)
    # Of one, the manager said nothing; what is never is 0.
    assert set(told) == set(units(20)) - {"a7.timer"}
    assert set(told.values()) == {("active", 5, 0)}
    assert len(manager.asked) == 60


def test_few_questions_are_in_flight(connect: Callable[[], Any]) -> None:
    manager = FakeManager(connect())
    manager.holds = True
    told: list[str] = []
    taken: list[str] = []

    def each() -> Iterator[str]:
        for unit in units(30):
            taken.append(unit)
            yield unit

    questions = Questions(Bus(connect()))
    questions.ask(each(), (Property.SINCE,), lambda unit, _: told.append(unit))
    most = 0
    while len(told) < 30:
        iterate(lambda: bool(manager.held), 20)
        iterate(lambda: False, 0.02)
        most = max(most, len(manager.held))
        manager.answer()
        iterate(lambda: (not manager.held and len(told) == len(taken)) or bool(manager.held), 20)
    assert most <= 4
    assert told == units(30)


def test_nothing_is_asked_while_the_manager_reads_its_files(connect: Callable[[], Any]) -> None:
    manager = FakeManager(connect())
    manager.holds = True
    told: list[str] = []
    questions = Questions(Bus(connect()))
    questions.ask(units(30), (Property.SINCE,), lambda unit, _: told.append(unit))
    iterate(lambda: bool(manager.held), 20)
    manager.reloads(True)
    iterate(lambda: questions.is_waiting, 20)
    manager.holds = False
    before = len(manager.asked)
    manager.answer()
    iterate(lambda: len(told) >= before, 20)
    iterate(lambda: False, 0.1)
    assert len(manager.asked) == len(told) == before < 30
    manager.reloads(False)
    iterate(lambda: len(told) == 30, 20)
    assert told == units(30)


def test_units_are_listed_with_their_states(connect: Callable[[], Any]) -> None:
    server = connect()
    names = ["lunasched-job@a.timer", "lunasched-job@it\\x27s.timer", "quoted\"'.service"]
    listed = [
        (name, 'it\'s "described"', "loaded", "active", "waiting", "", "/a", number, "", "/")
        for number, name in enumerate(names)
    ]

    def called(*said: Any) -> None:
        said[6].return_value(GLib.Variant("(a(ssssssouso))", (listed,)))

    (interface,) = Gio.DBusNodeInfo.new_for_xml(_LISTS).interfaces
    server.register_object(OBJECT, interface, called, None, None)
    FakeManager(server)
    client = connect()
    found: list[dict[str, UnitState]] = []
    thread = Thread(target=lambda: found.append(Manager(Bus(client)).states("*")))
    thread.start()
    iterate(lambda: bool(found), 20)
    thread.join()
    assert found[0] == {
        name: UnitState("loaded", "active", "waiting", has_job=number > 0)
        for number, name in enumerate(names)
    }


def test_the_manager_is_known_to_read_its_files(connect: Callable[[], Any]) -> None:
    server = FakeManager(connect())
    manager = Manager(Bus(connect()))
    manager.ask_later([], (Property.SINCE,), lambda unit, said: None)
    assert not manager.is_reloading

    def hears(reloading: bool) -> bool:
        # Said again until it is heard: GLib asks who has the name, and drops what comes before.
        server.reloads(reloading)
        return manager.is_reloading is reloading

    iterate(lambda: hears(True), 20)
    assert manager.is_reloading
    iterate(lambda: hears(False), 20)
    assert not manager.is_reloading

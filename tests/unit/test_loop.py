"""The supervisor's main loop, and that the loop of tests keeps the same promises."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest
from handloop import HandLoop

from lunasched.supervisor import loop as loop_module
from lunasched.supervisor.loop import Handle, Loop

NOW = 1_700_000_000_000_000


class Promise:
    """A loop, and how its time passes in a test."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.called: list[str] = []

    def call(self, name: str) -> Callable[[], None]:
        return lambda: self.called.append(name)

    def until(self, condition: Callable[[], bool]) -> None:
        """Let time pass until a condition holds."""
        if isinstance(self.loop, HandLoop):
            for _ in range(1000):
                if condition():
                    return
                self.loop.advance(1000)
            raise AssertionError("it does not come true")
        assert self.loop.run_until(lambda: self.loop.has_failed or condition(), 60)
        self.loop.raise_failure()

    def settle(self) -> None:
        """Let everything be called that is due."""
        done = self.loop.after(100, lambda: None, background=True)
        self.until(lambda: not done.is_pending)


@pytest.fixture(params=[Loop, HandLoop])
def promise(request: pytest.FixtureRequest) -> Promise:
    return Promise(Loop() if request.param is Loop else HandLoop(NOW))


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.raise_failure()


def test_what_was_asked_for_is_called_once_in_the_order_of_its_time(promise: Promise) -> None:
    loop = promise.loop
    loop.soon(promise.call("soon"))
    loop.at(loop.now() - 3_600_000_000, promise.call("long ago"))
    loop.at(loop.now() + 10_000, promise.call("at"))
    loop.after(40, promise.call("later"))
    assert not promise.called  # never from within the request
    promise.until(lambda: "later" in promise.called)
    promise.settle()
    assert promise.called == ["soon", "long ago", "at", "later"]


def test_a_handle_tells_whether_it_is_waited_for(promise: Promise) -> None:
    handle = promise.loop.after(1, lambda: promise.called.append(str(handle.is_pending)))
    assert handle.is_pending
    promise.until(lambda: bool(promise.called))
    # A callback may ask for itself again: its own wait is over by then.
    assert promise.called == ["False"]
    assert not handle.is_pending
    handle.cancel()
    assert not Handle().is_pending
    Handle().cancel()


def test_what_is_cancelled_is_not_called(promise: Promise) -> None:
    loop = promise.loop
    handles = [
        loop.after(1, promise.call("after")),
        loop.at(loop.now(), promise.call("at")),
        loop.every(1, promise.call("every")),
        loop.soon(promise.call("soon")),
    ]
    for handle in handles:
        handle.cancel()
        handle.cancel()
        assert not handle.is_pending
    promise.settle()
    assert not promise.called


def test_what_repeats_ends_with_its_handle(promise: Promise) -> None:
    def repeated() -> None:
        promise.called.append("again")
        if len(promise.called) == 3:
            handle.cancel()

    handle = promise.loop.every(1, repeated)
    promise.until(lambda: not handle.is_pending)
    promise.settle()
    assert len(promise.called) == 3


@pytest.mark.parametrize("wait", ["after", "every", "soon"])
def test_an_error_of_a_callback_is_raised_and_not_forgotten(promise: Promise, wait: str) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    loop = promise.loop
    waits: dict[str, Callable[[Callable[[], object]], Handle]]
    waits = {"after": partial(loop.after, 1), "every": partial(loop.every, 1), "soon": loop.soon}
    handle = waits[wait](fail)
    with pytest.raises(ZeroDivisionError):
        promise.until(lambda: False)
    assert not handle.is_pending


def test_a_loop_runs_until_it_is_ended(loop: Loop) -> None:
    loop.soon(loop.quit)
    loop.run()
    loop.raise_failure()
    # What was ended before it ran, as while it was being set up, does not run.
    loop.run()


def test_an_error_ends_a_loop(loop: Loop) -> None:
    failing = Loop()
    failing.after(1, lambda: 1 // 0)
    failing.run()
    assert failing.has_failed
    with pytest.raises(ZeroDivisionError):
        failing.raise_failure()


def test_what_others_call_ends_a_loop_by_its_error() -> None:
    loop, called = Loop(), list[object]()
    loop.callback(lambda *given: called.extend(given))(1, 2)
    assert called == [1, 2] and not loop.has_failed

    def leave() -> None:
        raise SystemExit(3)

    loop.callback(leave)()
    loop.run()
    with pytest.raises(SystemExit):
        loop.raise_failure()


def test_an_error_is_not_repeated(loop: Loop) -> None:
    """What stays readable would fail over and over while the last messages are sent."""
    ours, theirs = socket.socketpair()
    failing, count = Loop(), list[int]()

    def fail() -> None:
        count.append(1)
        raise ValueError("as always")

    with ours, theirs:
        theirs.send(b"x")
        handle = failing.on_readable(ours.fileno(), fail)
        failing.run()
        assert not loop.run_until(lambda: False, 0.05)
        assert not handle.is_pending
    assert len(count) == 1


def test_a_descriptor_is_watched_until_that_is_cancelled(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    received: list[bytes] = []
    with ours, theirs:
        handle = loop.on_readable(ours.fileno(), lambda: received.append(ours.recv(1)))
        theirs.send(b"ab")
        assert loop.run_until(lambda: received == [b"a", b"b"], 60)
        handle.cancel()
        theirs.send(b"c")
        assert not loop.run_until(lambda: len(received) > 2, 0.05)


def test_room_to_write_is_waited_for(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    called: list[str] = []
    with ours, theirs:
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(b"x" * 65536)

        def writable() -> None:
            called.append("writable")
            handle.cancel()

        handle = loop.on_writable(ours.fileno(), writable)
        assert not loop.run_until(lambda: bool(called), 0.05)
        theirs.setblocking(False)

        def drained() -> bool:
            with suppress(BlockingIOError):
                theirs.recv(1 << 20)
            return bool(called)

        assert loop.run_until(drained, 60)
    assert called == ["writable"]


def test_a_watch_may_be_replaced_from_within(loop: Loop) -> None:
    """As where an answer has been sent, and the client's farewell is waited for."""
    ours, theirs = socket.socketpair()
    called: list[str] = []
    handles: list[Handle] = []

    def first() -> None:
        handles[-1].cancel()
        called.append("first")
        handles.append(loop.on_readable(ours.fileno(), second))

    def second() -> None:
        called.append("second")
        ours.recv(1)
        handles[-1].cancel()

    with ours, theirs:
        theirs.send(b"x")
        handles.append(loop.on_readable(ours.fileno(), first))
        assert loop.run_until(lambda: "second" in called, 60)
    assert called == ["first", "second"]


SIGNALS = """
import os, signal
from lunasched.supervisor.loop import Loop

loop, called = Loop(), []
loop.on_signal(signal.SIGTERM, lambda: called.append("signal"))
for _ in range(2):
    called.clear()
    os.kill(os.getpid(), signal.SIGTERM)
    assert loop.run_until(lambda: bool(called), 60)
loop.on_signal(signal.SIGINT, loop.quit)
os.kill(os.getpid(), signal.SIGINT)
loop.run()
loop.raise_failure()
print("over")
"""


def test_a_signal_is_received_each_time() -> None:
    # GLib has a thread for signals from the first one on, which the tests' process shall not have.
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS], check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "over\n"


def test_what_is_in_the_background_comes_after_all_others(loop: Loop) -> None:
    called: list[str] = []
    loop.soon(lambda: called.append("background"), background=True)
    for number in range(3):
        loop.soon(partial(called.append, str(number)))
    assert loop.run_until(lambda: len(called) == 4, 60)
    assert called == ["0", "1", "2", "background"]


def test_a_thread_has_something_called_in_the_loop(loop: Loop) -> None:
    called: list[int] = []
    thread = threading.Thread(
        target=lambda: loop.soon(lambda: called.append(threading.get_ident()))
    )
    thread.start()
    assert loop.run_until(lambda: bool(called), 60)
    thread.join()
    assert called == [threading.get_ident()]


def test_a_wait_may_be_longer_than_glib_counts(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    far = loop.after(10 * 365 * 86_400_000, lambda: None)
    far.cancel()
    monkeypatch.setattr(loop_module, "_LONGEST_MS", 10)
    called: list[int] = []
    began = loop.monotonic()
    loop.after(35, lambda: called.append(loop.monotonic() - began))
    cancelled = loop.after(60_000, lambda: called.append(0))
    assert loop.run_until(lambda: loop.monotonic() - began > 15_000, 60)
    cancelled.cancel()  # its second source
    assert loop.run_until(lambda: bool(called), 60)
    assert called[0] >= 35_000
    assert not loop.run_until(lambda: len(called) > 1, 0.05)


def test_a_condition_is_waited_for_no_longer_than_it_may_be(loop: Loop) -> None:
    assert loop.run_until(lambda: True, 0)
    assert not loop.run_until(lambda: False, 0.01)


def test_the_clock_is_the_callers() -> None:
    loop = Loop(lambda: 17, lambda: 4)
    assert (loop.now(), loop.monotonic()) == (17, 4)
    hand = HandLoop(NOW)
    hand.advance(5)
    hand.time -= 1000
    assert (hand.now(), hand.monotonic()) == (NOW - 995, 5)

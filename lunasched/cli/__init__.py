"""The command ``lunasched``: parse, call one use case, render.

Only this package renders errors. Everything heavy is imported by the command that needs it.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys

from lunasched import __version__
from lunasched.errors import ExitCode, LunaschedError


class _InterruptedError(BaseException):
    """Ctrl-C. Not KeyboardInterrupt, which typer takes for itself: changes are taken back first."""


def _interrupt(*_: object) -> None:
    raise _InterruptedError


def program() -> int:
    """The entry point of ``lunasched``: `main`, and an end that does not take Python down.

    The memory goes with the process. To look at each object of each module first takes a seventh of
    the processor time of `list`.
    """
    ended: list[int] = []
    # Registered first, it runs last: other handlers close the databases.
    atexit.register(_leave, ended)
    ended.append(main())
    return ended[0]


def _open_streams() -> None:
    """Put /dev/null in the place of outputs that were closed: no other file gets their numbers."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
            setattr(sys, name, stream)
            # Another writer may take its place there, and must not be the last to know it.
            setattr(sys, f"__{name}__", stream)


def _leave(ended: list[int]) -> None:
    """End the process with the status of `main`, if that has returned."""
    for status in ended:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            status = status or ExitCode.FAILED
        os._exit(status)


def main() -> int:
    """Run the command of ``sys.argv``; returns the exit status of lunasched(1)."""
    _open_streams()
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        print(f"lunasched {__version__}", flush=True)
        return ExitCode.DONE
    debug = (
        "--debug" in arguments[: arguments.index("--")]
        if "--" in arguments
        else ("--debug" in arguments)
    )
    # Importing and listing make many objects and little garbage: collecting it takes a tenth of
    # the time of `list`.
    gc.set_threshold(100_000)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        from lunasched.cli.app import run
        from lunasched.machine import terminal

        terminal.make_printable()
        status = run(arguments)
        sys.stdout.flush()
        return status
    except LunaschedError as error:
        if debug:
            raise
        from lunasched.cli.pointers import pointer

        _tell(f"{error}\nNothing was changed." if error.nothing_changed else str(error))
        further = pointer(error, arguments)
        if further:
            print(f"see: {further}", file=sys.stderr)
        return error.exit_code
    except _InterruptedError:
        return 130
    except BrokenPipeError:
        # The reader of our output has closed it; do not report that again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except Exception as error:
        if debug:
            raise
        _tell(
            f"an unexpected error, {type(error).__name__}: {error}. "
            "Run the command again with --debug and report what it shows."
        )
        return ExitCode.FAILED


def _tell(message: str) -> None:
    print(f"lunasched: {message}", file=sys.stderr)

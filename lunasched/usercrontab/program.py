"""What crontab(1) does, with cron's words for what went wrong."""

from __future__ import annotations

import os
import pwd
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.errors import LunaschedError
from lunasched.formats.printable import printable
from lunasched.transfer.crontab.lines import SIZE_MAX
from lunasched.usercrontab.actions import STANDARD_INPUT, USAGE, Act, UsageError, read_action
from lunasched.usercrontab.permission import may_have_crontab

if TYPE_CHECKING:
    from lunasched.usercrontab.actions import Action
    from lunasched.usercrontab.spool import UserCrontabs


def main(*, is_own: bool = False) -> int:
    """The entry point of ``crontab``; returns its exit status, 0 or 1.

    With ``is_own`` it is about the user's own jobs, in their own manager, and not the machine's.
    """
    try:
        action = read_action(sys.argv[1:])
        user = _user(action.user)
        if is_own:
            return _do(action, user, _own_crontab(user))
        if not may_have_crontab(user) and os.getuid() != 0:
            _say(f"You ({user}) are not allowed to use this program (crontab)")
            _say("See crontab(1) for more information")
            return 1
        return _do(action, user, _crontabs())
    except UsageError as error:
        if str(error):
            _say(str(error))
        _say(USAGE.rstrip("\n"))
    except LunaschedError as error:
        _say(f"crontab: {error}")
    except OSError as error:
        # The copy for the editor: a full disk, or an editor that removed it.
        _say(f"crontab: {error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        return 130
    except _Refused as error:
        _say(str(error))
    return 1


class _Refused(Exception):
    """What is asked for cannot be; the text is cron's."""


def _user(named: str | None) -> str:
    """The user whose crontab it is about."""
    try:
        own = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise _Refused("crontab: your UID isn't in the passwd file.\nbailing out.") from None
    if named is None:
        return own
    try:
        pwd.getpwnam(named)
    except (KeyError, ValueError):
        raise _Refused(f"crontab:  user `{printable(named)}' unknown") from None
    if named != own and os.getuid() != 0:
        raise _Refused("must be privileged to use -u")
    return named


def _do(action: Action, user: str, crontabs: UserCrontabs) -> int:
    if action.act is Act.CHECK:
        _checked(_text(action.file), user, action.file)
        _say("The syntax of the crontab file was successfully checked.")
        return 0
    if action.act is Act.REPLACE:
        text = _text(action.file)
        _checked(text, user, action.file)
        crontabs.write(user, text)
        return 0
    if action.act is Act.EDIT:
        from lunasched.usercrontab.editing import edit_crontab

        return edit_crontab(crontabs, user)
    if action.act is Act.LIST:
        return _list(crontabs, user)
    return _remove(crontabs, user, asks=action.asks)


def _crontabs() -> UserCrontabs:
    """The crontabs as who calls may change them."""
    if os.geteuid() == 0:
        from lunasched.usercrontab.spool import RootSpool

        return RootSpool()
    from lunasched.usercrontab.remotespool import RemoteSpool

    return RemoteSpool()


def _own_crontab(user: str) -> UserCrontabs:
    """The one crontab of whoever calls."""
    from lunasched.usercrontab.owncrontab import OwnCrontab

    if pwd.getpwnam(user).pw_uid != os.getuid():
        raise _Refused("crontab: -u is for the crontabs of the machine; this one is your own")
    return OwnCrontab()


def _text(file: str) -> bytes:
    """The text of a new crontab."""
    try:
        if file == STANDARD_INPUT:
            text = sys.stdin.buffer.read(SIZE_MAX + 1)
        else:
            with Path(file).open("rb") as opened:
                text = opened.read(SIZE_MAX + 1)
    except OSError as error:
        raise _Refused(f"{printable(file)}: {error.strerror}") from None
    if len(text) > SIZE_MAX:
        raise _Refused(f"{printable(file)}: it is longer than {SIZE_MAX >> 20} MiB")
    return text


def _checked(text: bytes, user: str, label: str) -> None:
    """Refuse a text of which a line would not be run."""
    from lunasched.usercrontab.syntax import check

    checked = check(text, user, label)
    for line in (*checked.faults, *checked.notes):
        _say(printable(line))
    if checked.faults:
        raise _Refused("errors in crontab file, can't install.")


def _list(crontabs: UserCrontabs, user: str) -> int:
    text = crontabs.read(user)
    if text is None:
        raise _Refused(f"no crontab for {user}")
    # Who has read enough of it is no error.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if sys.stdout.isatty():
        # Root may look at what somebody else has written.
        print(printable(text.decode(errors="surrogateescape")), end="", flush=True)
    else:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    return 0


def _remove(crontabs: UserCrontabs, user: str, *, asks: bool) -> int:
    if asks:
        from lunasched.usercrontab.editing import confirmed

        if not confirmed(f"crontab: really delete {user}'s crontab? (y/n) "):
            return 0
    if not crontabs.remove(user):
        raise _Refused(f"no crontab for {user}")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

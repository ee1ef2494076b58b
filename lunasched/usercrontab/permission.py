"""The users who may have a crontab: /etc/cron.allow and /etc/cron.deny of crontab(1)."""

from __future__ import annotations

from pathlib import Path

_ALLOW = "etc/cron.allow"
_DENY = "etc/cron.deny"


def may_have_crontab(user: str, root: Path = Path("/")) -> bool:
    """Tell whether a user may have a crontab; ``root`` always may.

    Who is in cron.allow may, where that file is; else who is not in cron.deny. Where the file
    cannot be read, nobody may.
    """
    if user == "root":
        return True
    for name, answer in ((_ALLOW, True), (_DENY, False)):
        try:
            lines = (root / name).read_text(errors="surrogateescape").splitlines()
        except FileNotFoundError:
            continue
        except OSError:
            return False
        return (user in {line.strip() for line in lines}) is answer
    return True

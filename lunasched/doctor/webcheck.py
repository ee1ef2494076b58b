"""The check of the status page and the metrics: served at the configured address."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import fine, unseen, warning
from lunasched.errors import InvalidInput
from lunasched.files.settings import Settings, WebSettings, of_document
from lunasched.formats.document import Format, read_document
from lunasched.machine import host
from lunasched.paths import SUPERVISOR_USER, is_there

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding


@dataclass(frozen=True, slots=True)
class WebFacts:
    """The server of the status page and the metrics."""

    wanted: bool
    is_described: bool
    """The configuration has settings of it, and does not say if it is wanted."""
    where: str
    """Address and port."""
    held_by: tuple[str, ...]
    """The users whose programs listen at the port."""


def look(path: Path) -> WebFacts:
    """Return where the page is to be, and who listens there."""
    try:
        settings, said = Settings.load(path, os.environ).web, _said(path)
    except InvalidInput:
        settings, said = WebSettings(), ()
    host_ = f"[{settings.address}]" if ":" in settings.address else settings.address
    return WebFacts(
        wanted=settings.enabled,
        is_described=any(key.startswith("web.") for key in said) and "web.enabled" not in said,
        where=f"{host_}:{settings.port}",
        held_by=host.listeners(settings.port),
    )


def _said(path: Path) -> tuple[str, ...]:
    """The settings that a valid configuration file has."""
    if not is_there(path):
        return ()
    return of_document(read_document(path.read_bytes(), str(path), Format.YAML)).present


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether the status page and the metrics are served at the configured address."""
    known = facts.web
    if isinstance(known, Unseen):
        yield unseen("the status page", known)
        return
    running = not isinstance(facts.recording, Unseen) and facts.recording.running
    if not known.wanted:
        yield _unwanted(facts, known)
        return
    if not running:
        return
    owner = SUPERVISOR_USER if facts.is_system else facts.user
    if owner in known.held_by:
        yield fine(f"the status page is at {known.where}")
    elif known.held_by:
        yield warning(
            f"{known.where}, the address of the status page, is used by a program of "
            f"{', '.join(known.held_by)}",
            "there is no page, and there are no metrics; as root, 'ss -ltnp' shows what listens",
            _edit(facts),
            f"{facts.systemctl} restart lunasched.service",
            as_root=facts.is_system,
        )
    else:
        yield warning(
            f"nothing listens at {known.where}, the address of the status page",
            "there is no page, and there are no metrics; the port was taken when the supervisor "
            "started, or the address is not one of this machine",
            f"{facts.systemctl} restart lunasched.service",
            as_root=facts.is_system,
        )


def _unwanted(facts: Facts, known: WebFacts) -> Finding:
    if not known.is_described:
        return fine("the status page is off (web.enabled)")
    return warning(
        "the configuration describes a status page and does not turn it on",
        "there is no page, and there are no metrics, unless web.enabled is true; remove the "
        "section web if you want none",
        _edit(facts),
        f"{facts.systemctl} restart lunasched.service",
        as_root=facts.is_system,
    )


def _edit(facts: Facts) -> str:
    return f"${{EDITOR:-vi}} {shlex.quote(str(facts.paths.settings))}"

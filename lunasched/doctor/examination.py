"""Gathering what the checks judge: everything is looked at, and nothing is changed.

What cannot be seen, for lack of a right, a bus or a database, is noted with the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunasched.doctor import (
    calendarcheck,
    cgroupcheck,
    clockcheck,
    configurationcheck,
    croncheck,
    crontabcheck,
    databasecheck,
    diskcheck,
    journalcheck,
    lingercheck,
    mailcheck,
    needcheck,
    notificationcheck,
    overruncheck,
    polkitcheck,
    recordingcheck,
    scriptcheck,
    servicemanagercheck,
    unitcheck,
    webcheck,
    zonecheck,
)
from lunasched.doctor.facts import Facts, Unseen, seen
from lunasched.machine import host
from lunasched.paths import SUPERVISOR_USER, Mode, user_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunasched.paths import Paths
    from lunasched.store import Store
    from lunasched.units.compiler import Context


def examine(
    mode: Mode,
    paths: Paths,
    context: Context,
    *,
    now: int,
    store: Callable[[], Store],
) -> Facts:
    """Look at everything; ``store`` opens both databases to be looked at."""
    user = user_name()
    settings = seen(lambda: configurationcheck.look(mode, paths.settings))
    definitions = seen(lambda: databasecheck.look_at_definitions(paths))
    history = seen(lambda: databasecheck.look_at_history(paths, store))
    jobs = seen(lambda: databasecheck.jobs_in(definitions, store))
    manager = seen(lambda: servicemanagercheck.look(mode))
    origins = seen(lambda: databasecheck.origins_in(definitions, store))
    adopted = seen(lambda: databasecheck.adopted_in(definitions, store))
    limit = configurationcheck.limit_to_all_jobs
    deployed = (
        jobs
        if isinstance(jobs, Unseen)
        else seen(lambda: unitcheck.look(jobs, paths, context, limit(paths.settings)))
    )
    known = () if isinstance(jobs, Unseen) else jobs
    return Facts(
        mode=mode,
        user=user,
        now=now,
        host_timezone=context.host_timezone,
        paths=paths,
        manager=manager,
        cgroup=host.cgroup_version(),
        controllers=seen(lambda: cgroupcheck.look(mode)),
        clock=seen(clockcheck.look),
        zones=zonecheck.look(paths, context, known, now),
        calendars=calendarcheck.look(mode, known),
        journal=seen(lambda: journalcheck.look(mode)),
        polkit=None if mode is Mode.USER else seen(polkitcheck.look),
        lingers=lingercheck.look(mode, user),
        lacks_bus=servicemanagercheck.look_for_bus(mode),
        disks=diskcheck.look(paths),
        closed=diskcheck.look_for_closed(mode, paths),
        settings=settings,
        definitions=definitions,
        history=history,
        recording=seen(lambda: recordingcheck.look(mode, paths, store, history)),
        web=seen(lambda: webcheck.look(paths.settings)),
        notifications=seen(lambda: notificationcheck.look(store, history, now)),
        mail=seen(lambda: mailcheck.look(paths.settings, known)),
        overruns=seen(lambda: overruncheck.look(store, history, context.host_timezone, now)),
        scripts=context.scripts,
        missing_scripts=scriptcheck.look(context.scripts),
        deployed=deployed,
        lacks=jobs if isinstance(jobs, Unseen) else needcheck.look(mode, jobs),
        cron=seen(lambda: croncheck.look(mode, manager, known, origins, user)),
        crontabs=seen(lambda: crontabcheck.look(mode, paths, manager, origins, adopted, user)),
        in_container=host.is_container(),
        has_supervisor_user=mode is Mode.USER or host.user_exists(SUPERVISOR_USER),
        reinstall=scriptcheck.how_to_reinstall(context.scripts),
        bus_package=servicemanagercheck.look_for_bus_package(),
    )

"""What each check makes of the facts; tests/system/test_doctor.py breaks real machines."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from lunasched.doctor.calendarcheck import CalendarFacts, NamedCalendar
from lunasched.doctor.clockcheck import ClockFacts
from lunasched.doctor.configurationcheck import SettingsFacts
from lunasched.doctor.croncheck import CronFacts, CronLine
from lunasched.doctor.crontabcheck import ServedFacts
from lunasched.doctor.databasecheck import DatabaseFacts
from lunasched.doctor.diagnosis import CHECKS, diagnose
from lunasched.doctor.diskcheck import ClosedFacts, DiskFacts
from lunasched.doctor.facts import Facts, FileFacts, Unseen
from lunasched.doctor.finding import Severity
from lunasched.doctor.journalcheck import JournalFacts
from lunasched.doctor.mailcheck import MailFacts
from lunasched.doctor.notificationcheck import NotificationFacts
from lunasched.doctor.overruncheck import OverrunFacts
from lunasched.doctor.polkitcheck import PolkitFacts
from lunasched.doctor.recordingcheck import RecordingFacts
from lunasched.doctor.servicemanagercheck import ManagerFacts, UnitSeen
from lunasched.doctor.unitcheck import DeployedFacts
from lunasched.doctor.webcheck import WebFacts
from lunasched.doctor.zonecheck import ZoneFacts
from lunasched.jobs.model import Job, ResourceLimits
from lunasched.machine.crontabs import FoundCrontab, Ignored
from lunasched.paths import Mode, Paths
from lunasched.units.needs import Lack

NOW = 1_800_000_000_000_000  # January 2027
PATHS = Paths.of(Mode.SYSTEM, {})
TIMER = "lunasched-job@x.timer"
JOB = Job(name="x", schedule="every 1h", command="true")
RUNNING = UnitSeen("loaded", "active", "waiting")
UNITS = {
    TIMER: RUNNING,
    "lunasched.service": UnitSeen("loaded", "active", "running"),
    "lunasched-sync.timer": RUNNING,
    "lunasched-start.socket": UnitSeen("loaded", "active", "listening"),
}
MANAGER = ManagerFacts("252.1", UNITS, "enabled", ())
DEPLOYED = DeployedFacts((JOB,), {TIMER: JOB})
ZONES = ZoneFacts("UTC 1", "UTC 1", "2026b", 2026, ())
HOLIDAYS = NamedCalendar("holidays", "/etc/lunasched/calendars.d/holidays.yaml", ("x",), None)
JOURNAL = JournalFacts("persistent", None, readable=True)
SETTINGS_FILE = FileFacts(PATHS.settings, "root", "lunasched", 0o640)
SETTINGS = SettingsFacts(SETTINGS_FILE, "", has_secrets=True, readable_by_supervisor=True)
JOBS_FILE = FileFacts(PATHS.database, "root", "lunasched", 0o640)
JOBS_DIRECTORY = FileFacts(PATHS.database.parent, "root", "root", 0o755)
DEFINITIONS = DatabaseFacts(PATHS.database, JOBS_FILE, JOBS_DIRECTORY, "", "current", checked=True)
FILE = FileFacts(PATHS.history, "lunasched", "lunasched", 0o600)
HISTORY = DatabaseFacts(PATHS.history, FILE, replace(FILE, mode=0o700), "", "current", checked=True)
WEB = WebFacts(wanted=True, is_described=False, where="127.0.0.1:8080", held_by=("lunasched",))
POLKIT = PolkitFacts("loaded", permitted=())

SERVED = ServedFacts(jobs=3, is_watched=True)
MISNAMED = FoundCrontab("/etc/cron.d/a.b", b"", None, Ignored("its name has other characters"))

HEALTHY = Facts(
    mode=Mode.SYSTEM,
    user="root",
    now=NOW,
    host_timezone="UTC",
    paths=PATHS,
    manager=MANAGER,
    cgroup="v2",
    controllers=frozenset({"cpu", "io", "memory", "pids"}),
    clock=ClockFacts(synchronised=True),
    zones=ZONES,
    calendars=CalendarFacts((HOLIDAYS,)),
    journal=JOURNAL,
    polkit=POLKIT,
    lingers=None,
    lacks_bus=False,
    disks=(DiskFacts(Path("/"), 10 << 30, 20 << 30),),
    closed=(),
    settings=SETTINGS,
    definitions=DEFINITIONS,
    history=HISTORY,
    recording=RecordingFacts(running=True, unrecorded_since=None),
    web=WEB,
    notifications=NotificationFacts(0, ""),
    mail=MailFacts(("x",), None),
    overruns=(),
    scripts=Path("/scripts"),
    missing_scripts=(),
    deployed=DEPLOYED,
    cron=CronFacts(),
    crontabs=SERVED,
    reinstall=("apt-get install --reinstall lunasched",),
)
NO_BUS = Unseen("no bus")
USER: dict[str, Any] = {"mode": Mode.USER, "user": "luna", "polkit": None, "lingers": True}


def units(**changed: UnitSeen | None) -> ManagerFacts:
    """The manager with other units; ``_`` stands for what names have and words have not."""
    names = {"timer": TIMER, "supervisor": "lunasched.service", "sync": "lunasched-sync.timer"}
    found = {**UNITS, **{names.get(name, name): unit for name, unit in changed.items()}}
    return replace(MANAGER, units={name: unit for name, unit in found.items() if unit})


LIMITED = Job(name="x", schedule="every 1h", command="true", limits=ResourceLimits(io_weight=10))
PAST = Job(name="x", schedule="calendar:2001-01-01", command="true")
ELAPSED = UnitSeen("loaded", "active", "elapsed")
NO_USER = Lack("x", "user", "bob", "there is no user 'bob'", "it fails", "make it")
NO_PROGRAM = Lack("x", "command", "/opt/x", "/opt/x is not there", "it fails", "make it")
CASES: list[tuple[str, Severity, str, dict[str, Any]]] = [
    ("systemd", Severity.ERROR, "does not answer: no bus", {"manager": NO_BUS}),
    ("systemd", Severity.ERROR, "has no D-Bus", {"manager": NO_BUS, **USER, "lacks_bus": True}),
    ("systemd", Severity.ERROR, "own systemd manager does not", {"manager": NO_BUS, **USER}),
    ("systemd", Severity.ERROR, "older than 240", {"manager": replace(MANAGER, version="239")}),
    ("systemd", Severity.WARNING, "than 252", {"manager": replace(MANAGER, version="249.11")}),
    ("cgroups", Severity.WARNING, "cgroup v1", {"cgroup": "v1"}),
    ("cgroups", Severity.WARNING, "cgroup hybrid", {"cgroup": "hybrid", **USER}),
    ("cgroups", Severity.UNKNOWN, "no file", {"controllers": Unseen("no file")}),
    (
        "cgroups",
        Severity.ERROR,
        "'io' is not there for jobs that need it: x",
        {
            **USER,
            "controllers": frozenset({"cpu"}),
            "deployed": DeployedFacts((LIMITED,), {TIMER: JOB}),
        },
    ),
    ("clock", Severity.WARNING, "not synchronised", {"clock": ClockFacts(synchronised=False)}),
    ("clock", Severity.UNKNOWN, "denied", {"clock": Unseen("denied")}),
    ("zones", Severity.ERROR, "'UTC 1', and it is 'UTC 2'", {"zones": replace(ZONES, now="UTC 2")}),
    ("zones", Severity.WARNING, "is not known", {"zones": replace(ZONES, version="", released=0)}),
    (
        "zones",
        Severity.WARNING,
        "2024a, of 3 years ago, and the clocks of Europe/Berlin",
        {"zones": replace(ZONES, version="2024a", released=2024, changing=("Europe/Berlin",))},
    ),
    (
        "zones",
        Severity.ERROR,
        "has failed",
        {
            "manager": replace(
                MANAGER,
                units={**UNITS, "lunasched-sync.service": UnitSeen("loaded", "failed", "failed")},
            )
        },
    ),
    (
        "calendars",
        Severity.ERROR,
        "'x': there is no calendar holidays",
        {"calendars": CalendarFacts(broken=(("x", "there is no calendar holidays"),))},
    ),
    (
        "calendars",
        Severity.ERROR,
        "cannot be read by the user lunasched",
        {"calendars": CalendarFacts((replace(HOLIDAYS, readable_by_supervisor=False),))},
    ),
    (
        "calendars",
        Severity.WARNING,
        "its last day is 2027-02-28",
        {"calendars": CalendarFacts((replace(HOLIDAYS, last=date(2027, 2, 28).toordinal()),))},
    ),
    ("zones", Severity.WARNING, "sync.timer does not run", {"manager": units(sync=None)}),
    ("journal", Severity.ERROR, "Storage=none", {"journal": replace(JOURNAL, storage="none")}),
    (
        "journal",
        Severity.WARNING,
        "does not outlive a reboot",
        {"journal": replace(JOURNAL, storage="volatile")},
    ),
    (
        "journal",
        Severity.ERROR,
        "does not outlive a reboot",
        {"journal": JournalFacts("volatile", None, readable=False), **USER},
    ),
    (
        "journal",
        Severity.ERROR,
        "luna cannot read the journal",
        {"journal": replace(JOURNAL, readable=False), **USER},
    ),
    (
        "journal",
        Severity.WARNING,
        "limited to 16 MiB",
        {"journal": replace(JOURNAL, limit=16 << 20)},
    ),
    (
        "polkit",
        Severity.ERROR,
        "lets the supervisor start jobs and have",
        {"polkit": replace(POLKIT, permitted=("start jobs", "have processes"))},
    ),
    (
        "polkit",
        Severity.UNKNOWN,
        "root may ask",
        {"polkit": replace(POLKIT, permitted=Unseen("root may ask"))},
    ),
    (
        "supervisor",
        Severity.ERROR,
        "cannot start anything",
        {"manager": units(**{"lunasched-start.socket": None})},
    ),
    ("linger", Severity.WARNING, "only while you are logged in", {**USER, "lingers": False}),
    (
        "disk",
        Severity.WARNING,
        "has 100 MiB left of 20480",
        {"disks": (DiskFacts(Path("/var"), 100 << 20, 20 << 30),)},
    ),
    (
        "disk",
        Severity.ERROR,
        "the directory /etc/systemd/system is on a read-only file system",
        {"closed": (ClosedFacts(PATHS.units, "mount", "on a read-only file system"),)},
    ),
    ("disk", Severity.ERROR, "has 1 MiB", {"disks": (DiskFacts(Path("/"), 1 << 20, 1 << 30),)}),
    (
        "configuration",
        Severity.ERROR,
        "not valid: config.yaml:1",
        {"settings": replace(SETTINGS, problem="config.yaml:1: no")},
    ),
    (
        "configuration",
        Severity.ERROR,
        "secrets in it and mode 0644",
        {"settings": replace(SETTINGS, file=replace(SETTINGS_FILE, mode=0o644))},
    ),
    (
        "configuration",
        Severity.ERROR,
        "cannot be read by the user lunasched",
        {"settings": replace(SETTINGS, readable_by_supervisor=False)},
    ),
    (
        "history",
        Severity.ERROR,
        "belongs to root, not to lunasched",
        {"history": replace(HISTORY, file=replace(FILE, owner="root"))},
    ),
    (
        "history",
        Severity.ERROR,
        "has mode 0644",
        {
            "history": replace(
                HISTORY, file=replace(FILE, mode=0o644), directory=replace(FILE, mode=0o755)
            )
        },
    ),
    (
        "history",
        Severity.ERROR,
        "is damaged: malformed",
        {"history": replace(HISTORY, damage="malformed")},
    ),
    (
        "definitions",
        Severity.ERROR,
        "belongs to lunasched, not to root",
        {"definitions": replace(DEFINITIONS, file=replace(JOBS_FILE, owner="lunasched"))},
    ),
    *(
        (
            "definitions",
            Severity.ERROR,
            f"has mode 0{mode:o}",
            {"definitions": replace(DEFINITIONS, file=replace(JOBS_FILE, mode=mode))},
        )
        for mode in (0o660, 0o644)
    ),
    (
        "definitions",
        Severity.ERROR,
        "cannot be read by the group lunasched",
        {"definitions": replace(DEFINITIONS, file=replace(JOBS_FILE, group="root"))},
    ),
    (
        "definitions",
        Severity.ERROR,
        "is damaged: malformed",
        {"definitions": replace(DEFINITIONS, damage="malformed")},
    ),
    ("definitions", Severity.ERROR, "newer", {"definitions": replace(DEFINITIONS, state="newer")}),
    ("history", Severity.WARNING, "earlier", {"history": replace(HISTORY, state="older")}),
    ("history", Severity.WARNING, "1.x", {"history": replace(HISTORY, state="1.x")}),
    ("history", Severity.ERROR, "holds jobs", {"history": replace(HISTORY, state="2.0")}),
    ("history", Severity.ERROR, "newer", {"history": replace(HISTORY, state="newer")}),
    ("history", Severity.ERROR, "not one of", {"history": replace(HISTORY, state="foreign")}),
    ("supervisor", Severity.ERROR, "no user lunasched", {"has_supervisor_user": False}),
    (
        "supervisor",
        Severity.ERROR,
        "the supervisor does not run",
        {
            "manager": units(supervisor=None),
            "recording": RecordingFacts(running=False, unrecorded_since=None),
        },
    ),
    (
        "supervisor",
        Severity.WARNING,
        "the supervisor does not run",
        {
            **USER,
            "manager": units(supervisor=None),
            "recording": RecordingFacts(running=False, unrecorded_since=None),
            "deployed": DeployedFacts((), {}),
        },
    ),
    (
        "supervisor",
        Severity.ERROR,
        "has failed (auto-restart), and systemd starts it again",
        {"manager": units(supervisor=UnitSeen("loaded", "activating", "auto-restart"))},
    ),
    (
        "supervisor",
        Severity.WARNING,
        "the supervisor is stopping",
        {"manager": units(supervisor=UnitSeen("loaded", "deactivating", "stop-sigterm"))},
    ),
    (
        "supervisor",
        Severity.ERROR,
        "masked",
        {
            "manager": replace(units(supervisor=None), supervisor="masked"),
            "recording": RecordingFacts(running=False, unrecorded_since=None),
        },
    ),
    (
        "supervisor",
        Severity.ERROR,
        "does not know",
        {
            "manager": replace(units(supervisor=None), supervisor=""),
            "recording": RecordingFacts(running=False, unrecorded_since=None),
        },
    ),
    (
        "supervisor",
        Severity.WARNING,
        "will not start after the next boot",
        {"manager": replace(MANAGER, supervisor="disabled")},
    ),
    (
        "recording",
        Severity.ERROR,
        "of the last 3 minutes are not",
        {"recording": RecordingFacts(running=True, unrecorded_since=NOW - 200_000_000)},
    ),
    (
        "recording",
        Severity.UNKNOWN,
        "no journal",
        {"recording": RecordingFacts(running=True, unrecorded_since=Unseen("no journal"))},
    ),
    (
        "web",
        Severity.WARNING,
        "is used by a program of www-data",
        {"web": replace(WEB, held_by=("www-data",))},
    ),
    ("web", Severity.WARNING, "nothing listens at 127", {"web": replace(WEB, held_by=())}),
    (
        "web",
        Severity.WARNING,
        "does not turn it on",
        {"web": replace(WEB, wanted=False, is_described=True)},
    ),
    (
        "notifications",
        Severity.WARNING,
        "2 notifications of the last week were given up; the latest was on_failure",
        {"notifications": NotificationFacts(2, "on_failure of x by email: 550")},
    ),
    (
        "mail",
        Severity.WARNING,
        "nothing listens at localhost:25",
        {"mail": MailFacts(("x",), "there is no mail server: nothing listens at localhost:25")},
    ),
    (
        "runs",
        Severity.WARNING,
        "the job 'x' has been running for 2h0m: 60 slots passed",
        {"overruns": (OverrunFacts("x", NOW - 7200 * 1_000_000, 60, has_limit=False),)},
    ),
    (
        "runs",
        Severity.WARNING,
        "the job 'x' has been waiting for its turn for 2h0m: 60 slots passed",
        {"overruns": (OverrunFacts("x", NOW - 7200 * 1_000_000, 60, has_limit=True, waits=True),)},
    ),
    ("runs", Severity.UNKNOWN, "runs in progress", {"overruns": Unseen("no database")}),
    ("scripts", Severity.ERROR, "there is no launch", {"missing_scripts": ("launch",)}),
    ("units", Severity.ERROR, "are missing: a", {"deployed": replace(DEPLOYED, missing=("a",))}),
    ("units", Severity.WARNING, "jobs: a", {"deployed": replace(DEPLOYED, changed=("a",))}),
    ("units", Severity.ERROR, "at boot: a", {"deployed": replace(DEPLOYED, unlinked=("a",))}),
    ("units", Severity.ERROR, "half-way", {"deployed": replace(DEPLOYED, handover=True)}),
    ("units", Severity.ERROR, "/a stands", {"deployed": replace(DEPLOYED, foreign=("/a",))}),
    ("units", Severity.ERROR, "bad", {"deployed": replace(DEPLOYED, failed=(("x", "bad"),))}),
    ("units", Severity.WARNING, "version of a", {"manager": replace(MANAGER, unread=("a",))}),
    ("timers", Severity.ERROR, "do not run: lunasched-job@x", {"manager": units(timer=None)}),
    ("timers", Severity.ERROR, "will never elapse", {"manager": units(timer=ELAPSED)}),
    (
        "orphans",
        Severity.WARNING,
        "belong to no job: lunasched-job@y.service",
        {"deployed": replace(DEPLOYED, orphans=("lunasched-job@y.service",))},
    ),
    (
        "orphans",
        Severity.ERROR,
        "there are no jobs, but 1 unit files",
        {"deployed": DeployedFacts((), {}, orphans=("lunasched-job@x.timer",))},
    ),
    (
        "orphans",
        Severity.ERROR,
        "timers run that belong to no job: lunasched-job@y.timer",
        {"manager": replace(MANAGER, units={**UNITS, "lunasched-job@y.timer": RUNNING})},
    ),
    ("users", Severity.ERROR, "job 'x': user: there is no user 'bob'", {"lacks": (NO_USER,)}),
    ("users", Severity.UNKNOWN, "the users of jobs could not be checked", {"lacks": NO_BUS}),
    ("files", Severity.ERROR, "job 'x': command: /opt/x is not there", {"lacks": (NO_PROGRAM,)}),
    (
        "files",
        Severity.WARNING,
        "the jobs 'x', 'y' and 'z': command: /opt/x is not there",
        {"lacks": tuple(replace(NO_PROGRAM, job=job, is_certain=False) for job in "xyz")},
    ),
    ("files", Severity.UNKNOWN, "the programs and directories of jobs", {"lacks": NO_BUS}),
    (
        "sessions",
        Severity.WARNING,
        "the job 'x' leaves its unit",
        {"deployed": replace(DEPLOYED, jobs=(JOB.evolve(name="x", command="su - web -c id"),))},
    ),
    (
        "cron",
        Severity.WARNING,
        "/etc/crontab:3 runs what the job 'x' runs",
        {"cron": CronFacts(lines=(CronLine("/etc/crontab", 3, "x", ("sed",)),))},
    ),
    (
        "cron",
        Severity.WARNING,
        "cron does not read /etc/cron.d/a.b: its name has other characters",
        {"cron": CronFacts(ignored=(MISNAMED,))},
    ),
    (
        "crontabs",
        Severity.ERROR,
        "cron is running (crond.service) beside 3 jobs of crontabs",
        {"crontabs": replace(SERVED, cron="crond.service")},
    ),
    (
        "crontabs",
        Severity.WARNING,
        "nothing watches the crontabs",
        {"crontabs": replace(SERVED, is_watched=False)},
    ),
    (
        "crontabs",
        Severity.WARNING,
        "/etc/crontab:7 is not run: it has no command",
        {"crontabs": replace(SERVED, not_run=(("/etc/crontab:7", "it has no command", ""),))},
    ),
    (
        "crontabs",
        Severity.WARNING,
        "/etc/crontab:8 has no job, and is not run",
        {"crontabs": replace(SERVED, jobless=("/etc/crontab:8",))},
    ),
    (
        "crontabs",
        Severity.WARNING,
        "/etc/crontab:6: timeout=x: this comment has no effect",
        {
            "crontabs": replace(
                SERVED, noted=(("/etc/crontab:6", "timeout=x: this comment has no effect"),)
            )
        },
    ),
    ("crontabs", Severity.UNKNOWN, "the crontabs that lunasched runs", {"crontabs": NO_BUS}),
]


def test_a_healthy_machine_passes_every_check() -> None:
    findings = diagnose(HEALTHY)
    assert {finding.severity for finding in findings} == {Severity.OK}
    assert {finding.check for finding in findings} == CHECKS.keys() - {"linger"}
    assert {finding.check for finding in diagnose(replace(HEALTHY, **USER))} >= {"linger"}


@pytest.mark.parametrize(
    ("check", "severity", "text", "changed"), CASES, ids=lambda one: str(one)[:40]
)
def test_what_is_wrong_is_found(
    check: str, severity: Severity, text: str, changed: dict[str, Any]
) -> None:
    findings = diagnose(replace(HEALTHY, **changed))
    (found,) = [
        finding
        for finding in findings
        if finding.check == check and finding.severity is not Severity.OK
    ]
    assert found.severity is severity
    assert text in found.what
    assert found.why or severity is Severity.UNKNOWN
    # A check that finds something wrong does not say that all is well beside it.
    if check not in ("zones", "supervisor"):
        assert len([finding for finding in findings if finding.check == check]) == 1


def test_that_there_is_no_page_is_no_fault() -> None:
    asked_for_none = WebFacts(
        wanted=False, is_described=False, where="127.0.0.1:8080", held_by=("www-data",)
    )
    (found,) = [one for one in diagnose(replace(HEALTHY, web=asked_for_none)) if one.check == "web"]
    assert (found.severity, found.fix) == (Severity.OK, ())


@pytest.mark.parametrize(
    ("lacks_bus", "lingers", "fix"),
    [
        (True, True, ("apt-get install x", 'systemctl restart "user@$(id -u luna).service"')),
        (True, False, ("apt-get install x", 'systemctl restart "user@$(id -u luna).service"')),
        (False, True, ('systemctl restart "user@$(id -u luna).service"',)),
        (False, False, ("loginctl enable-linger luna",)),
    ],
)
def test_what_brings_a_users_manager_back(
    lacks_bus: bool, lingers: bool, fix: tuple[str, ...]
) -> None:
    broken = replace(HEALTHY, **{**USER, "lingers": lingers}, manager=NO_BUS, lacks_bus=lacks_bus)
    found = diagnose(replace(broken, bus_package=("apt-get install x",)))
    (manager,) = [one for one in found if one.check == "systemd"]
    assert manager.fix == fix


def test_a_database_of_somebody_else_is_not_moved_away() -> None:
    facts = replace(HEALTHY, history=replace(HISTORY, state="foreign"))
    (found,) = [one for one in diagnose(facts) if one.check == "history"]
    assert (found.severity, found.fix) == (Severity.ERROR, ())


def test_nobody_is_given_a_history_before_there_is_the_user() -> None:
    history = replace(HISTORY, file=replace(FILE, owner="root"))
    facts = replace(HEALTHY, history=history, has_supervisor_user=False)
    (found,) = [one for one in diagnose(facts) if one.check == "history"]
    assert found.fix[0] == "systemd-sysusers"
    assert found.fix[-1] == "systemctl start lunasched.service"


def test_a_supervisor_that_is_starting_is_no_fault() -> None:
    facts = replace(HEALTHY, manager=units(supervisor=UnitSeen("loaded", "activating", "start")))
    assert [one.severity for one in diagnose(facts) if one.check == "supervisor"] == [Severity.OK]


def test_a_mail_server_is_no_matter_where_nobody_mails() -> None:
    nobody = replace(HEALTHY, mail=MailFacts((), "there is no mail server"))
    (found,) = [one for one in diagnose(nobody) if one.check == "mail"]
    assert found.severity is Severity.OK


def test_every_check_has_a_case() -> None:
    assert {check for check, *_ in CASES} == set(CHECKS)


def test_a_timer_whose_schedule_is_over_has_done_its_work() -> None:
    over = replace(
        HEALTHY, manager=units(timer=ELAPSED), deployed=DeployedFacts((PAST,), {TIMER: PAST})
    )
    assert [one.severity for one in diagnose(over) if one.check == "timers"] == [Severity.OK]


def test_what_has_an_error_in_system_mode_wants_root() -> None:
    for _, severity, _, changed in CASES:
        if changed.get("mode") is Mode.USER:
            continue
        for finding in diagnose(replace(HEALTHY, **changed)):
            if finding.severity is severity and finding.fix:
                assert finding.as_root


@pytest.mark.parametrize("unit", [r"gone.service", r"gone.timer", r"gone:on_failure.service"])
def test_a_unit_that_systemd_remembers_of_a_removed_job_is_not_unread(unit: str) -> None:
    gone, kept = f"lunasched-job@{unit}", f"lunasched-job@{unit.replace('gone', 'x')}"
    facts = replace(HEALTHY, manager=replace(MANAGER, unread=(gone,)))
    assert {one.severity for one in diagnose(facts)} == {Severity.OK}
    facts = replace(HEALTHY, manager=replace(MANAGER, unread=(gone, kept)))
    (found,) = [one for one in diagnose(facts) if one.severity is not Severity.OK]
    assert kept in found.what
    assert gone not in found.what


def test_no_command_that_removes_all_jobs_is_called_a_mend() -> None:
    lost = DeployedFacts((), {}, orphans=("lunasched-job@x.timer",))
    for finding in diagnose(replace(HEALTHY, deployed=lost)):
        assert "--allow-empty" not in " ".join(finding.fix)


def test_names_that_the_shell_would_read_are_quoted() -> None:
    name = r"lunasched-job@a\x20b.timer"
    job = JOB.evolve(name="a b")
    deployed = DeployedFacts((job,), {name: job})
    seen = {**UNITS, name: ELAPSED}
    del seen[TIMER]
    (found,) = [
        one
        for one in diagnose(
            replace(HEALTHY, deployed=deployed, manager=replace(MANAGER, units=seen))
        )
        if one.severity is Severity.ERROR
    ]
    assert found.fix[-1] == r"systemctl restart 'lunasched-job@a\x20b.timer'"


def test_many_names_are_cut_and_all_of_them_mended() -> None:
    timers = {f"lunasched-job@{number}.timer": JOB for number in range(120)}
    seen = {**UNITS, **dict.fromkeys(timers, ELAPSED)}
    facts = replace(
        HEALTHY,
        deployed=DeployedFacts(tuple(JOB.evolve(name=str(n)) for n in range(120)), timers),
        manager=replace(MANAGER, units=seen),
    )
    (found,) = [one for one in diagnose(facts) if one.check == "timers"]
    assert found.what.endswith("and 115 more")
    assert sum(line.count(".timer") for line in found.fix) == 120

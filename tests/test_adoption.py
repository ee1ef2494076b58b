"""Units that somebody wrote as jobs: the same behaviour, or a refusal that names the line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_compiler import SYSTEM, USER

from lunasched import adoption, compiler
from lunasched.adoption import Adoption, Source
from lunasched.compiler import Context
from lunasched.errors import InvalidJob
from lunasched.sandbox import OPTIONS
from lunasched.unitfile import UnitFile

TIMER = "[Timer]\nOnCalendar=daily\nAccuracySec=1s\n[Install]\nWantedBy=timers.target\n"
SERVICE = "[Service]\nUser=root\nExecStart=/bin/true\nIgnoreSIGPIPE=no\n"


def adopt(
    timer: str = TIMER, service: str = SERVICE, *drop_ins: str, context: Context = SYSTEM
) -> Adoption:
    files = [UnitFile(f"{number}.conf", text) for number, text in enumerate(drop_ins)]
    return adoption.adopt(
        Source("x.timer", (UnitFile("x.timer", timer),)),
        Source("x.service", (UnitFile("x.service", service), *files)),
        name="x",
        enabled=True,
        context=context,
    )


def with_lines(*lines: str) -> str:
    return SERVICE + "".join(f"{line}\n" for line in lines)


def faults(timer: str = TIMER, service: str = SERVICE, **keys: Any) -> list[str]:
    with pytest.raises(InvalidJob) as caught:
        adopt(timer, service, **keys)
    return list(caught.value.problems)


def test_an_ordinary_pair() -> None:
    found = adopt(
        TIMER.replace("daily", "Mon..Fri 09:00") + "[Timer]\nPersistent=true\n",
        "[Unit]\nDescription=Reports\n[Service]\nType=oneshot\nUser=www-data\nGroup=adm\n"
        "Environment=A=1 'B=two words'\nEnvironment=A=2\nTimeoutStartSec=5min\nMemoryMax=1.5G\n"
        "CPUQuota=20%\nWorkingDirectory=/srv\nProtectSystem=strict\nPrivateTmp=1\n"
        "EnvironmentFile=-/etc/default/x\nEnvironmentFile=/etc/y\nNice=10\nCPUWeight=30\n"
        "IOWeight=30\nOOMScoreAdjust=500\nTimeoutStopSec=1min 30s\nKillMode=mixed\n"
        "ReadWritePaths=/a '/b c'\nExecStart=/usr/bin/report --all\n",
    )
    job = found.job
    assert job.schedule == "calendar:Mon..Fri 09:00"
    assert (job.command, job.user) == (("/usr/bin/report", "--all"), "www-data")
    assert dict(job.environment) == {"A": "2", "B": "two words"}
    assert (job.limits.timeout, job.limits.kill_after, job.limits.cpu_quota) == (300, 90, 0.2)
    assert job.limits.max_memory == 3 << 29
    assert (job.priority.value, job.working_directory, job.catch_up) == ("Low", "/srv", True)
    assert dict(job.sandbox) == {
        "protect_system": "strict",
        "private_tmp": True,
        "read_write_paths": ("/a", "/b c"),
    }
    assert dict(job.directives) == {
        "EnvironmentFile": ("-/etc/default/x", "/etc/y"),
        "Group": "adm",
        "KillMode": "mixed",
    }
    assert "Description= is not kept: a job is known by its name" in found.notes


def test_a_service_without_a_user_keeps_its_directory_and_environment() -> None:
    job = adopt(service="[Service]\nEnvironment=HOME=/x\nExecStart=/bin/true\n").job
    assert (job.user, job.working_directory) == (None, "/")
    assert dict(job.directives) == {"UnsetEnvironment": "LOGNAME USER SHELL"}


def test_in_user_mode_nothing_has_to_be_said() -> None:
    job = adopt(service="[Service]\nExecStart=/bin/true\n", context=USER).job
    assert (job.working_directory, job.directives) == (None, ())


@pytest.mark.parametrize(
    ("lines", "schedule"),
    [
        (["OnCalendar=*-*-01 04:00 Europe/Berlin"], "calendar:*-*-01 04:00 Europe/Berlin"),
        (["OnActiveSec=1h", "OnUnitActiveSec=60min"], "every 1h"),
        (["OnActiveSec=90", "OnUnitActiveSec=1min 30s"], "every 1m30s"),
        (["OnStartupSec=0"], "@reboot"),
        (["OnBootSec=0"], "@reboot"),
        (["OnCalendar=daily", "OnCalendar=", "OnCalendar=weekly"], "calendar:weekly"),
        (["OnBootSec=5min", "OnCalendar=", "OnCalendar=weekly"], "calendar:weekly"),
    ],
)
def test_schedules(lines: list[str], schedule: str) -> None:
    assert adopt("[Timer]\n" + "\n".join(lines)).job.schedule == schedule


@pytest.mark.parametrize(
    "lines",
    [
        ["OnCalendar=Mon 09:00", "OnCalendar=Tue 10:00"],
        ["OnBootSec=5min"],
        ["OnBootSec=5min", "OnUnitActiveSec=1h"],
        ["OnUnitActiveSec=1h"],
        ["OnActiveSec=1h", "OnUnitActiveSec=2h"],
        ["OnActiveSec=1.5s", "OnUnitActiveSec=1.5s"],
        ["OnActiveSec=1h", "OnUnitInactiveSec=1h"],
        ["OnCalendar=daily", "OnBootSec=0"],
        ["OnActiveSec=0", "OnUnitActiveSec=0"],
    ],
)
def test_elapses_that_are_no_schedule_are_each_named(lines: list[str]) -> None:
    found = faults("[Timer]\n" + "\n".join(lines))
    expected = [f"x.timer:{number}: " for number in range(2, len(lines) + 2)]
    assert [fault[: len("x.timer:2: ")] for fault in found] == expected


def test_all_faults_are_named_at_once() -> None:
    found = faults(
        TIMER + "[Timer]\nWakeSystem=yes\n[Unit]\nAfter=foo.service\n[Path]\nUnit=x\n",
        "[Unit]\nWants=a.service\nAfter=network.target\n[Service]\nType=forking\n"
        "ExecStart=-/bin/true\nRestart=on-failure\nExecStartPre=/bin/x\n"
        "RuntimeDirectory=%N\noops\nMemoryMax=10%\n[Socket]\nA=b\n",
    )
    named = [fault.split("] ")[1].split("=")[0] for fault in found if "] " in fault]
    assert sorted(named) == sorted(
        ["WakeSystem", "After", "Unit", "Wants", "After", "Type", "ExecStart", "Restart",
         "ExecStartPre", "RuntimeDirectory", "MemoryMax", "A"]
    )  # fmt: skip
    assert any(fault.startswith("x.service:10: ") for fault in found)
    assert all(fault.startswith(("x.timer:", "x.service:")) for fault in found)


@pytest.mark.parametrize(
    "line",
    [
        "ExecStart=/bin/x", "Type=notify", "TimeoutStartSec=5", "Type=oneshot\nRuntimeMaxSec=5",
        "TimeoutStopSec=infinity", "WorkingDirectory=-/srv", "WorkingDirectory=%h",
        "Slice=system-x.slice", "RemainAfterExit=yes", "Environment=x", "Environment=A=%n",
        "StandardOutput=file:/x", "CPUQuota=0.5", "TasksMax=10%", "StateDirectory=%p",
        "User=%i", "WatchdogSec=3", "LimitNOFILE=%I", "SendSIGKILL=no", "IgnoreSIGPIPE=maybe",
        "SystemCallFilter=/", "UMask=x", "MemoryMax=1 G", "IOWeight=idle",
    ],
)  # fmt: skip
def test_what_a_job_cannot_be_is_refused_with_its_line(line: str) -> None:
    (fault,) = faults(service=with_lines(line))
    directive = line.splitlines()[-1].partition("=")[0]
    assert fault.startswith(f"x.service:{4 + len(line.splitlines())}: [Service] {directive}=: ")


@pytest.mark.parametrize(
    "line",
    [
        "Restart=no", "RemainAfterExit=off", "RuntimeMaxSec=infinity", "MemoryMax=infinity",
        "TasksMax=infinity", "StandardOutput=journal", "X-Mine=1", "CPUAccounting=yes",
        "Environment=", "ExecStartPre=",
    ],
)  # fmt: skip
def test_what_every_job_has_needs_no_place(line: str) -> None:
    assert adopt(service=with_lines(line)).job == adopt().job


def test_drop_ins_change_what_the_file_says() -> None:
    job = adopt(
        TIMER,
        with_lines("MemoryMax=1G", "LimitNOFILE=10"),
        "[Service]\nMemoryMax=2G\nExecStart=\nExecStart=/bin/false\n",
        "[Service]\nLimitNOFILE=\n",
    ).job
    assert (job.limits.max_memory, job.command, job.directives) == (2 << 30, ("/bin/false",), ())


def test_lists_of_the_sandbox() -> None:
    job = adopt(
        service=with_lines(
            "SystemCallFilter=@system-service mount",
            "SystemCallFilter=~@mount chown:EPERM",
            "CapabilityBoundingSet=",
            "RestrictNamespaces=~user net",
            "RestrictAddressFamilies=none",
        )
    ).job
    assert dict(job.sandbox) == {
        "system_call_filter": ("@system-service", "mount", "~@mount", "~chown:EPERM"),
        "capability_bounding_set": ("none",),
        "restrict_namespaces": ("~user", "~net"),
        "restrict_address_families": ("none",),
    }


@pytest.mark.parametrize(
    ("lines", "priority", "weight", "directives"),
    [
        (["Nice=19"], "Normal", None, {"Nice": "19"}),
        (["Nice=19", "IOWeight=50"], "Normal", 50, {"Nice": "19"}),
        (["IOWeight=50"], "Normal", 50, {}),
        (["CPUWeight=idle"], "Normal", None, {"CPUWeight": "idle"}),
        (["OOMScoreAdjust=1000", "Nice=-5"], "Normal", None,
         {"Nice": "-5", "OOMScoreAdjust": "1000"}),
        (["Nice=10", "CPUWeight=30", "OOMScoreAdjust=500"], "Normal", None,
         {"Nice": "10", "CPUWeight": "30", "OOMScoreAdjust": "500"}),
        (["Nice=10", "CPUWeight=30", "OOMScoreAdjust=500", "IOWeight=7"], "Low", 7, {}),
        (["Nice=10", "CPUWeight=30", "OOMScoreAdjust=500", "IOWeight=30"], "Low", None, {}),
    ],
)  # fmt: skip
def test_what_no_priority_sets_is_set_as_it_is(
    lines: list[str], priority: str, weight: int | None, directives: dict[str, str]
) -> None:
    job = adopt(service=with_lines(*lines)).job
    assert (job.priority.value, job.limits.io_weight) == (priority, weight)
    assert dict(job.directives) == directives
    text = compiler.compile(job, SYSTEM).service.text.splitlines()
    own = ("Nice=", "CPUWeight=", "IOWeight=", "OOMScoreAdjust=")
    assert sorted(line for line in text if line.startswith(own)) == sorted(lines)


@pytest.mark.parametrize(
    ("unit", "persistent"), [("", "yes"), ("", "no"), ("After=network-online.target", "yes")]
)
def test_a_job_that_catches_up_is_said_to_wait_for_the_network(unit: str, persistent: str) -> None:
    found = adopt(f"{TIMER}[Timer]\nPersistent={persistent}\n", f"[Unit]\n{unit}\n{SERVICE}")
    waits = "After=network-online.target" in compiler.compile(found.job, SYSTEM).service.text
    noted = any("is after network-online.target" in note for note in found.notes)
    assert noted == (waits and not unit)


def test_differences_are_said() -> None:
    notes = " | ".join(adopt("[Timer]\nOnCalendar=daily\nRandomizedDelaySec=5min\n").notes)
    assert "not within 60 s" in notes
    assert "once, and not for each run" in notes
    fixed = adopt(TIMER + "[Timer]\nRandomizedDelaySec=5min\nFixedRandomDelay=yes\n")
    assert fixed.notes == ("its random delay is drawn anew, once", "it runs in lunasched.slice")


def test_a_timer_names_its_service() -> None:
    timer = Source("x.timer", (UnitFile("x.timer", "[Timer]\nUnit=y.service\n"),))
    assert adoption.service_of(timer) == "y.service"
    assert adoption.service_of(Source("x.timer", (UnitFile("x.timer", TIMER),))) == "x.service"


@pytest.mark.parametrize("value", ["y.service # mine", "y", "%i.mount", "a b.service"])
def test_a_timer_that_names_no_unit_is_refused_with_its_line(value: str) -> None:
    text = f"[Timer]\nUnit={value}\n"
    with pytest.raises(InvalidJob) as caught:
        adoption.service_of(Source("x.timer", (UnitFile("x.timer", text),)))
    (fault,) = caught.value.problems
    assert fault.startswith("x.timer:2: [Timer] Unit=: ")
    assert ("a comment has to be on a line of its own" in fault) == ("#" in value)


@pytest.mark.parametrize(
    ("timer", "service"),
    [
        ("[Timer]\nOnCalendar=daily # at night\n", SERVICE),
        (TIMER + "[Timer]\nPersistent=yes ; of course\n", SERVICE),
        (TIMER, with_lines("User=www-data # web")),
        (TIMER, with_lines("TimeoutStopSec=5s # long")),
    ],
)
def test_a_comment_behind_a_value_is_named(timer: str, service: str) -> None:
    (fault,) = faults(timer, service)
    assert fault.splitlines()[0].endswith("; a comment has to be on a line of its own")


def test_a_semicolon_that_is_an_argument() -> None:
    line = r"ExecStart=/usr/bin/find /srv -exec touch {} \;"
    job = adopt(service=SERVICE.replace("ExecStart=/bin/true", line)).job
    assert job.command == ("/usr/bin/find", "/srv", "-exec", "touch", "{}", ";")


TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n"), max_size=30)
DIRECTIVES = st.sampled_from(
    [
        "ExecStart", "User", "Environment", "WorkingDirectory", "MemoryMax", "CPUQuota", "Nice",
        "TimeoutStopSec", "TimeoutSec", "Type", "Group", "IOWeight", "TasksMax",
        *(option.directive for option in OPTIONS.values()),
    ]
)  # fmt: skip
VALUES = TEXT | st.sampled_from(["yes", "no", "~x", "1", "5%", "infinity", "'", "%", "\\", "a b"])


@settings(max_examples=400, deadline=None, print_blob=True)
@given(
    st.lists(st.tuples(DIRECTIVES | TEXT, VALUES), max_size=5),
    st.lists(st.tuples(st.sampled_from(["OnCalendar", "OnActiveSec", "Persistent"]), VALUES)),
)
def test_any_units_are_adopted_or_refused(
    service: list[tuple[str, str]], timer: list[tuple[str, str]]
) -> None:
    texts = ["\n".join("=".join(pair) for pair in pairs) for pairs in (timer, service)]
    for timer_text in (TIMER, f"[Timer]\n{texts[0]}"):
        try:
            adopt(timer_text, f"{SERVICE}{texts[1]}")
        except InvalidJob as error:
            assert error.problems

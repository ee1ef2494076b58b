"""Units that somebody wrote as jobs: the same behaviour, or a refusal that names the line."""

from __future__ import annotations

from typing import Any

import pytest
from compiling import SYSTEM, USER
from hypothesis import given, settings
from hypothesis import strategies as st

from lunasched.errors import InvalidJob
from lunasched.files import dump
from lunasched.formats.unitfile import UnitFile
from lunasched.jobs.reading import job_from_mapping
from lunasched.jobs.sandbox import OPTIONS
from lunasched.transfer import adoption
from lunasched.transfer.adoption import Adoption, Source
from lunasched.units import compiler
from lunasched.units.compiler import Context

TIMER = "[Timer]\nOnCalendar=daily\nAccuracySec=1s\n[Install]\nWantedBy=timers.target\n"
SERVICE = "[Service]\nUser=root\nExecStart=/bin/true\nIgnoreSIGPIPE=no\n"


def adopt(
    timer: str = TIMER, service: str = SERVICE, *drop_ins: str, context: Context = SYSTEM
) -> Adoption:
    files = [UnitFile(f"{number}.conf", text) for number, text in enumerate(drop_ins)]
    return adoption.adopted_job(
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


def test_a_directory_may_be_missing() -> None:
    job = adopt(service="[Service]\nWorkingDirectory=-/srv\nExecStart=/bin/true\n").job
    assert job.working_directory == "-/srv"


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
        (["OnCalendar=Mon 09:00", "OnCalendar=Tue 10:00"],
         "calendar:Mon 09:00; calendar:Tue 10:00"),
        (["OnBootSec=5min"], "@boot+5m"),
        (["OnStartupSec=90"], "@reboot+1m30s"),
        (["OnBootSec=5min", "OnUnitActiveSec=1h"], "every 1h; @boot+5m"),
        (["OnUnitActiveSec=1d", "OnStartupSec=0"], "every 1d; @reboot"),
        (["OnCalendar=daily", "OnBootSec=0"], "calendar:daily; @reboot"),
        (["OnBootSec=1min", "OnCalendar=*:28", "OnCalendar=*:58"],
         "calendar:*:28; calendar:*:58; @boot+1m"),
    ],
)  # fmt: skip
def test_schedules(lines: list[str], schedule: str) -> None:
    found = adopt("[Timer]\n" + "\n".join(lines))
    assert found.job.schedule == schedule
    from_next_boot = any("from the next boot on" in note for note in found.notes)
    assert from_next_boot is ("; @" in schedule)
    assert job_from_mapping(dump.definition(found.job)) == found.job


@pytest.mark.parametrize(
    "lines",
    [
        ["OnUnitActiveSec=1h"],
        ["OnActiveSec=1h"],
        ["OnBootSec=1h", "OnBootSec=2h"],
        ["OnBootSec=1h", "OnStartupSec=2h"],
        ["OnBootSec=1.5s", "OnUnitActiveSec=1h"],
        ["OnBootSec=1h", "OnActiveSec=1h", "OnUnitActiveSec=1h"],
        ["OnBootSec=1h", "OnUnitActiveSec=0"],
        ["OnCalendar=daily", "OnUnitActiveSec=1h"],
        ["OnCalendar=daily", "OnActiveSec=5min"],
        ["OnCalendar=daily", "OnBootSec=5min", "OnUnitActiveSec=1h"],
        ["OnActiveSec=1h", "OnUnitActiveSec=2h"],
        ["OnActiveSec=1.5s", "OnUnitActiveSec=1.5s"],
        ["OnActiveSec=1h", "OnUnitInactiveSec=1h"],
        ["OnActiveSec=0", "OnUnitActiveSec=0"],
    ],
)
def test_elapses_that_are_no_schedule_are_each_named(lines: list[str]) -> None:
    found = faults("[Timer]\n" + "\n".join(lines))
    expected = [f"x.timer:{number}: " for number in range(2, len(lines) + 2)]
    assert [fault[: len("x.timer:2: ")] for fault in found] == expected


def test_all_faults_are_named_at_once() -> None:
    found = faults(
        TIMER + "[Timer]\nWakeSystem=yes\n[Unit]\nPartOf=foo.service\n[Path]\nUnit=x\n",
        "[Unit]\nRefuseManualStart=yes\nConditionPathExists=|/x\nConditionHost=|x\n"
        "[Service]\nType=forking\nExecStart=+/bin/true\nRestart=always\nExecStartPost=/bin/x\n"
        "RuntimeDirectory=%Y\noops\nMemoryMax=10%\n[Socket]\nA=b\n",
    )
    named = [fault.split("] ")[1].split("=")[0] for fault in found if "] " in fault]
    assert sorted(named) == sorted(
        ["WakeSystem", "PartOf", "Unit", "RefuseManualStart", "ConditionPathExists",
         "ConditionHost", "Type", "ExecStart", "Restart", "ExecStartPost", "RuntimeDirectory",
         "MemoryMax", "A"]
    )  # fmt: skip
    assert any(fault.startswith("x.service:10: ") for fault in found)
    assert all(fault.startswith(("x.timer:", "x.service:")) for fault in found)


@pytest.mark.parametrize(
    "line",
    [
        "ExecStart=/bin/x", "ExecStartPre=-+/bin/x", "Type=notify", "StandardError=tty",
        "WorkingDirectory=-srv", "WorkingDirectory=%d", "ExecStart=+/bin/y", "Type=forking",
        "Slice=system-x.slice", "RemainAfterExit=yes", "Environment=x", "Environment=A=%H",
        "StandardOutput=file:/x", "CPUQuota=0.5", "TasksMax=10%", "StateDirectory=%y",
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
    ("after", "persistent", "unsaid"),
    [
        ("", "yes", "remote-fs.target and nss-user-lookup.target and network-online.target"),
        ("", "no", "remote-fs.target and nss-user-lookup.target"),
        ("remote-fs.target x.service", "no", "nss-user-lookup.target"),
        ("network-online.target remote-fs.target nss-user-lookup.target", "yes", ""),
    ],
)
def test_what_a_job_is_after_unsaid_is_noted(after: str, persistent: str, unsaid: str) -> None:
    timer = f"{TIMER}[Timer]\nPersistent={persistent}\n"
    found = adopt(timer, f"[Unit]\nAfter={after}\n{SERVICE}")
    notes = [note for note in found.notes if note.startswith("it is after ")]
    assert notes == ([f"it is after {unsaid}, which the service was not"] if unsaid else [])
    text = compiler.compile(found.job, SYSTEM).service.text
    units = [
        unit for line in text.splitlines() if line[:6] == "After=" for unit in line[6:].split()
    ]
    assert len(units) == len({*units})
    assert {*after.split(), *filter(None, unsaid.split(" and "))} == {*units}


def test_an_interval_that_cannot_catch_up_keeps_its_order() -> None:
    timer = "[Timer]\nOnActiveSec=1h\nOnUnitActiveSec=1h\nPersistent=yes\n"
    job = adopt(timer, f"[Unit]\nAfter=network-online.target\n{SERVICE}").job
    assert (job.catch_up, dict(job.directives)) == (False, {"After": "network-online.target"})


def test_differences_are_said() -> None:
    notes = " | ".join(adopt("[Timer]\nOnCalendar=daily\nRandomizedDelaySec=5min\n").notes)
    assert "not within a minute of it" in notes
    assert "once, and not for each run" in notes
    fixed = adopt(TIMER + "[Timer]\nRandomizedDelaySec=5min\nFixedRandomDelay=yes\n")
    assert fixed.notes == (
        "its random delay is drawn anew, once",
        "it is after remote-fs.target and nss-user-lookup.target, which the service was not",
        "it runs in lunasched.slice",
    )


@pytest.mark.parametrize("line", ["TimeoutStartSec=5", "Type=oneshot\nRuntimeMaxSec=5"])
def test_a_limit_that_systemd_ignores_is_none(line: str) -> None:
    found = adopt(service=with_lines(line))
    assert found.job == adopt().job
    assert any("is not kept" in note for note in found.notes)


@pytest.mark.parametrize(
    "lines",
    [
        ["ExecStart=/bin/echo $A ${B}"],
        ["ExecStart=-/bin/false"],
        ["ExecStart=@/bin/sh sh -c 'exit 0'"],
        ["ExecStart=/bin/echo %H"],
        ["Type=oneshot", "ExecStart=/bin/a", "ExecStart=-/bin/b 'c ; d'"],
        ["Type=oneshot", "ExecStart=/bin/a", "ExecStartPre=/bin/c", "ExecStartPost=:/bin/d $x"],
    ],
)
def test_commands_of_systemd_stay_as_they_are(lines: list[str]) -> None:
    job = adopt(service="[Service]\n" + "\n".join(lines)).job
    text = compiler.compile(job, SYSTEM).service.text.splitlines()
    commands = [line for line in text if line.startswith("ExecStart")]
    assert sorted(commands) == sorted(line for line in lines if line.startswith("Exec"))
    wanted = "Type=oneshot" if lines[0] == "Type=oneshot" else "Type=exec"
    assert wanted in text
    again = job_from_mapping(dump.definition(job))
    assert again == job
    ejected = compiler.plain_units(job, SYSTEM, "plain", [])[0].text.splitlines()
    assert {*lines} - {"Type=oneshot"} <= {*ejected}
    assert wanted in ejected


@pytest.mark.parametrize(
    ("directive", "name", "value"),
    [
        ("StateDirectory=%N", "StateDirectory", "x"),
        ("LogExtraFields=A=%p-%i", "LogExtraFields", "A=x-"),
        ("ConditionPathExists=/etc/%p%%", "ConditionPathExists", "/etc/x%%"),
        ("OnFailure=mail@%n.service", "OnFailure", "mail@%n.service"),
    ],
)
def test_what_stands_for_the_unit_stays_that_unit(directive: str, name: str, value: str) -> None:
    section = "Service" if name[0] in "SL" else "Unit"
    job = adopt(service=f"{SERVICE}[{section}]\n{directive}\n").job
    assert dict(job.directives)[name] == value


def test_the_name_of_an_instance_is_written_out() -> None:
    text = SERVICE + "Group=%i\n[Service]\nExecStart=\nExecStart=/bin/echo %f %I %j %%i\n"
    found = adoption.adopted_job(
        Source("a@b-c.timer", (UnitFile("t", TIMER + "[Timer]\nUnit=a@%i.service\n"),)),
        Source("a@b-c.service", (UnitFile("s", text),)),
        name="x",
        enabled=True,
        context=SYSTEM,
    )
    assert found.job.command == ("/bin/echo", "/b/c", "b/c", "a", "%i")
    assert dict(found.job.directives) == {"Group": "b-c"}


def test_directives_of_the_unit_go_to_its_section() -> None:
    lines = [
        "After=a.service network.target", "Wants=network.target", "Requires=a.service",
        "BindsTo=b.service", "PartOf=c.target", "Before=d.service", "RequiresMountsFor=/srv",
        "ConditionACPower=yes", "ConditionPathExists=!/run/no", "AssertPathExists=/etc",
        "OnFailure=mail.service",
    ]  # fmt: skip
    job = adopt(service="[Unit]\n" + "\n".join(lines) + "\n" + SERVICE).job
    for unit in (
        compiler.compile(job, SYSTEM).service,
        compiler.plain_units(job, SYSTEM, "p", [])[0],
    ):
        head = unit.text.partition("[Service]")[0].splitlines()
        assert {*lines} <= {*head}
    assert job_from_mapping(dump.definition(job)) == job


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        (["ConditionACPower=|yes"], {"ConditionACPower": "yes"}),
        (["ConditionPathExists=/a", "ConditionPathExists=|!/b"],
         {"ConditionPathExists": ("/a", "!/b")}),
        (["ConditionPathExistsGlob=|/dev/sd*", "ConditionPathExistsGlob=/x",
          "ConditionPathExistsGlob=| /dev/hd*"],
         {"ConditionPathExistsGlob": ("/x", "/{dev/sd*,dev/hd*}")}),
    ],
)  # fmt: skip
def test_one_of_several_conditions_is_one_condition(
    conditions: list[str], kept: dict[str, object]
) -> None:
    text = "[Unit]\n" + "\n".join(conditions) + "\n"
    assert dict(adopt(service=text + SERVICE).job.directives) == kept
    assert dict(adopt(text + TIMER).job.directives) == kept


@pytest.mark.parametrize(
    "conditions",
    [
        ["ConditionACPower=|yes", "ConditionPathExists=|/a"],
        ["ConditionPathExistsGlob=|/a*", "ConditionPathExistsGlob=|!/b*"],
        ["ConditionPathExistsGlob=|/a*", "ConditionPathExistsGlob=|/b{1,2}"],
    ],
)
def test_conditions_of_which_one_has_to_hold_are_refused(conditions: list[str]) -> None:
    found = faults(service="[Unit]\n" + "\n".join(conditions) + "\n" + SERVICE)
    assert [fault.split(" [")[0] for fault in found] == ["x.service:2:", "x.service:3:"]
    assert all("each condition of a job has to hold" in fault for fault in found)


@pytest.mark.parametrize(
    ("lines", "kept", "notes"),
    [
        (["StandardError=null"], {"StandardError": "null"}, 1),
        (["StandardError=journal", "StandardOutput=null"],
         {"StandardError": "journal", "StandardOutput": "null"}, 1),
        (["StandardOutput=inherit", "StandardError=inherit"], {}, 0),
        (["StandardError=journal", "StandardOutput=journal"], {}, 0),
        (["StandardError=inherit"], {}, 0),
    ],
)  # fmt: skip
def test_output_that_goes_nowhere_still_does(
    lines: list[str], kept: dict[str, str], notes: int
) -> None:
    found = adopt(service=with_lines(*lines))
    assert dict(found.job.directives) == kept
    assert sum("not in the history" in note for note in found.notes) == notes


@pytest.mark.parametrize("line", ["TimeoutStopSec=infinity", "TimeoutStopSec=0"])
def test_a_stop_without_a_time_limit_has_none(line: str) -> None:
    job = adopt(service=with_lines(line)).job
    assert "\nTimeoutStopSec=infinity\n" in compiler.compile(job, SYSTEM).service.text


def test_specifiers_of_the_system_are_written_out() -> None:
    lines = ["WorkingDirectory=%S/x", "Environment=A=%t/%%t", "ExecStartPre=/bin/a %C %h $X"]
    job = adopt(service=with_lines("Type=oneshot", *lines)).job
    assert (job.working_directory, dict(job.environment)) == ("/var/lib/x", {"A": "/run/%t"})
    assert dict(job.directives) == {"ExecStartPre": "/bin/a /var/cache /root $X"}
    told = faults(service=SERVICE.replace("User=root\n", "") + lines[0] + "\n", context=USER)
    assert "the specifier '%S' is not supported" in told[0]


def test_a_command_with_more_rights_than_its_user_is_told_a_way_out() -> None:
    service = with_lines("Type=oneshot").replace("=/bin/true", "=+/usr/bin/install -d /x")
    (told,) = faults(service=service)
    assert told.startswith("x.service:3: [Service] ExecStart=: the prefix '+' has no place in a")
    assert "CacheDirectory=" in told


def test_conditions_of_a_timer_are_those_of_each_run() -> None:
    found = adopt("[Unit]\nConditionVirtualization=!container\nAfter=x.timer\n" + TIMER)
    assert dict(found.job.directives) == {"ConditionVirtualization": "!container"}
    assert "After= of the timer is not kept" in " | ".join(found.notes)
    assert "checked before each run" in " | ".join(found.notes)


@pytest.mark.parametrize(
    ("lines", "attempts", "delay"),
    [
        (["Restart=no", "RestartSec=5"], 1, 60),
        (["Restart=on-failure"], 5, 0.1),
        (["Restart=on-failure", "RestartSec=1min"], 1000, 60),
        (["Restart=on-failure", "RestartSec=1min", "StartLimitBurst=3",
          "StartLimitIntervalSec=1h"], 3, 60),
        (["Restart=on-failure", "StartLimitInterval=0"], 1000, 0.1),
        (["StartLimitBurst=3"], 1, 60),
    ],
)  # fmt: skip
def test_restarts_are_retries(lines: list[str], attempts: int, delay: float) -> None:
    limits = [line for line in lines if line.startswith("StartLimit")]
    service = with_lines(*(line for line in lines if line not in limits))
    retry = adopt(service="[Unit]\n" + "\n".join(limits) + "\n" + service).job.retry
    assert (retry.max_attempts, retry.initial_delay) == (attempts, delay)


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


@pytest.mark.parametrize(
    ("lines", "notes"),
    [
        ("LogRateLimitIntervalSec=1s\nLogRateLimitBurst=10000000\n", 0),
        ("LogRateLimitIntervalSec=0\n", 1),
        ("LogRateLimitIntervalSec=0s\nLogRateLimitBurst=0\n", 2),
    ],
)
def test_that_no_limit_of_the_output_is_the_limit_of_journald(lines: str, notes: int) -> None:
    found = adopt(service=f"[Service]\n{lines}ExecStart=/bin/true\n")
    assert sum("journald's own limit" in note for note in found.notes) == notes


@pytest.mark.parametrize("line", ["LogRateLimitIntervalSec=30s", "LogRateLimitBurst=5"])
def test_a_limit_of_the_output_is_refused(line: str) -> None:
    with pytest.raises(InvalidJob, match="no output of a job is dropped"):
        adopt(service=f"[Service]\n{line}\nExecStart=/bin/true\n")

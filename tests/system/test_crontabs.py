"""Imported crontabs run as Debian's own cron runs them, apart from what the import says."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import debian_crontabs
import pytest

from lunasched.transfer.crontab import CronFormat, CrontabSource, read_crontab

if TYPE_CHECKING:
    from pathlib import Path

    from installed import Lunasched
    from machine import Machine

pytestmark = pytest.mark.machine

# Writes down what it was given: `probe FILE ARGS...`.
PROBE = """\
#!/usr/bin/python3 -IS
import json, os, sys
name = sys.argv[1]
with open(f"/probe/.{name}", "w") as file:
    json.dump({"argv": sys.argv[2:], "stdin": sys.stdin.buffer.read().hex(), "cwd": os.getcwd(),
               "user": os.getuid(), "umask": os.umask(0), "env": dict(os.environ)}, file)
os.rename(f"/probe/.{name}", f"/probe/{name}")
"""

# What the import says that differs, and what bash and sh set for their children.
NOT_COMPARED = {
    "USER", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "PWD", "OLDPWD", "SHLVL", "_",
    "FROM_PAM",
}  # fmt: skip

FIXED = r"""
@reboot root probe 01 "$0" "$SHELL" "$HOME" "$LOGNAME"
@reboot luna probe 02 "$0" "$SHELL" "$HOME" "$LOGNAME"
A = b c
B="  q"
C='d"e%f'
D=$A $HOME \n
MAILTO=""
SHELL=/bin/bash
@reboot root probe 03 "$0" <(true | sed 's,.*,,') "${BASH_VERSION:+bash}"
HOME=/tmp
PATH=/usr/local/bin:/usr/bin
LOGNAME=nobody
CRON_TZ=Asia/Tokyo
TZ=Asia/Tokyo
@reboot luna probe 04 "$LOGNAME" "$A" "$B" "$C" "$D"
SHELL=/bin/sh
@reboot root probe 05 a%b
@reboot root probe 06 'a\%b' 'c\\d' '\n'
@reboot root probe 07 x%
@reboot root probe 08 x%%
@reboot root probe 09 x%a%%b\%c\\%d\x%
@reboot root probe 10 x%a\
@reboot root probe 11 x  %  lead trail  
@reboot root probe 12 %a%\
@reboot root probe 13 %%%a%%%
@reboot root probe 14 "it's $((1+1))"%Joe,%%Where are your kids? 100\% of {x} "$HOME" 'q' é 𝄞 %n %h
"""  # noqa: W291 - spaces at the end of an input

CRLF = (
    "# As Windows ends lines.\r\n@reboot root probe 15 last\r\n@reboot root probe 16 x%a%b\r\n"
    "@reboot root probe 17 x # y\r\n@reboot root probe 18 a\\\r\n"
)

PIECES = [
    "a", "b c", "\\", "\\", "%", "\\%", "\t", " ", "é", "€", "$A", "\\x41", "\\n", "=", "#", "~",
    "\u200b", "\x01", "\x7f", "^", "{", "@", "-", "\r",
]  # fmt: skip


@pytest.fixture(scope="module")
def with_cron(booted: Machine, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine with Debian's cron in it, which does not run by itself."""
    try:
        deb = debian_crontabs.debs(("cron",))["cron"]
    except debian_crontabs.NoPackages as error:
        pytest.fail(f"Debian's cron is needed here, from a cache or by apt: {error}")
    root: Path = tmp_path_factory.mktemp("cron")
    debian_crontabs.extracted(deb, root)
    for path in ("usr/sbin/cron", "usr/bin/crontab", "etc/pam.d/cron"):
        booted.copy(root / path, f"/{path}")
    booted.write_file("/usr/bin/probe", PROBE, mode=0o755)
    booted.run(
        "groupadd -f crontab; mkdir -p /probe /var/spool/cron/crontabs; chmod 1777 /probe;"
        # As the import says, PAM is not asked: Debian 13's lets users' groups write.
        "sed -i /pam_umask/d /etc/pam.d/common-session*;"
        "touch /etc/crontab; ln -sf /usr/bin/probe /usr/local/bin/; rm -f /etc/cron.d/*"
    )
    return booted


def probed(machine: Machine, start: str, names: list[str]) -> dict[str, Any]:
    """What the probes found, once all of them have."""
    machine.run(f"rm -rf /probe/* /probe/.[0-9]*; {start}", timeout=120)
    wanted = set(names)
    machine.wait_for(
        lambda: wanted <= set(machine.run(["ls", "/probe"]).stdout.split()),
        60,
        what="all probes",
        interval=0.5,
    )
    script = (
        "import json, os; os.chdir('/probe'); "
        "print(json.dumps({n: json.load(open(n)) for n in os.listdir() if n[0] != '.'}))"
    )
    return json.loads(machine.run(["python3", "-c", script]).stdout)  # type: ignore[no-any-return]


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    environment = {key: value for key, value in found["env"].items() if key not in NOT_COMPARED}
    argv = [word for word in found["argv"] if not word.startswith("/dev/fd/")]
    return {**found, "env": environment, "argv": argv}


def test_the_same_reaches_the_command_as_under_cron(
    with_cron: Machine, luna: Lunasched, rng: random.Random
) -> None:
    """argv, standard input, environment, directory, user and umask, of real cron and of jobs."""
    lines = [f"@reboot root probe {number} {text}" for number, text in enumerate(texts(rng), 50)]
    crontab = FIXED + CRLF + "\n".join(lines) + "\n"
    names = [line.split()[3] for line in crontab.split("\n") if line.startswith("@")]
    with_cron.write_file("/etc/cron.d/compare", crontab)
    with_cron.run("echo FROM_PAM=1 >/etc/environment; rm -f /run/crond.*")
    try:
        cron = probed(with_cron, "systemd-run -q --unit=cron-compare cron -f", names)
    finally:
        with_cron.run("systemctl stop cron-compare; : >/etc/environment")

    luna("import-crontab", "/etc/cron.d/compare")
    jobs = {job["name"]: job for job in luna.json("list")}
    assert len(jobs) == len(names)
    units = " ".join(f"'lunasched-job@{name}.service'" for name in jobs)
    ours = probed(with_cron, f"systemctl start {units}", names)
    with_cron.run("rm /etc/cron.d/compare")
    for name in names:
        left, right = comparable(ours[name]), comparable(cron[name])
        assert not {key: (left[key], right[key]) for key in left if left[key] != right[key]}, name
        assert set(cron[name]["env"]) - set(ours[name]["env"]) <= {"FROM_PAM"}


def texts(rng: random.Random) -> list[str]:
    """Random words and input; the shell sees every one of them."""
    return ["".join(rng.choice(PIECES) for _ in range(rng.randint(1, 10))) for _ in range(40)]


ITEMS = [
    *["*"] * 20, "*/5", "*/90", "0", "1", "5-7", "1-12/2", "1,3", "mon", "MON-fri", "jan", "00",
    "12", "7-5", "7-7", "0-0/2", "1/2", "60", "sat-sun", "1,", "L", "?", "*-5", "5*", "1#2",
    "monday", "*/0", "1-", "",
]  # fmt: skip
VALUES = ["b", " ", '"', "'", "=", "#", "b c", "\\", "$A", "\t", "1", "export "]


def test_no_line_is_taken_that_cron_refuses(with_cron: Machine, rng: random.Random) -> None:
    """By the judgement of ``crontab -n`` on random times and variables."""
    lines = [" ".join([*(rng.choice(ITEMS) for _ in range(5)), "true"]) for _ in range(400)]
    lines += ["A" + "".join(rng.choice(VALUES) for _ in range(5)) for _ in range(300)]
    lines += [f"* * * * * {word}true" for word in ("* ", "*/2 ", "*", " *", "- ", "&& ", "7 ")]
    lines += [
        "\r",
        "A=b\r",
        'A="b"\r',
        "A=\r",
        "* * * * * true\r",
        "* * * * *\r",
        "#\r",
        "@daily\r",
    ]
    lines += ["@" + word + " true" for word in ("daily", "Daily", "reboot", "every", "midnight")]
    script = (
        "import json, subprocess, sys\n"
        "for line in json.load(sys.stdin):\n"
        "    open('/tmp/line', 'w').write(line + '\\n')\n"
        "    done = subprocess.run(['crontab', '-n', '/tmp/line'], capture_output=True)\n"
        "    print(done.returncode)\n"
    )
    done = with_cron.run(["python3", "-c", script], input=json.dumps(lines), timeout=120)
    judged = [code == "0" for code in done.stdout.split()]
    taken = [_is_taken(line) for line in lines]
    assert len(judged) == len(lines)
    wrong = [line for line, ours, crons in zip(lines, taken, judged, strict=True) if ours > crons]
    assert wrong == []
    assert sum(taken) > 50


def _is_taken(line: str) -> bool:
    return not read_crontab(f"{line}\n".encode(), CrontabSource("x", CronFormat.USER)).problems


def put(luna: Lunasched, text: str, *options: str, check: bool = True) -> Any:
    """Import a crontab from standard input."""
    command = ["lunasched", "import-crontab", "-", *options]
    return luna.machine.run(command, user=luna.user, input=text, check=check, timeout=120)


def names(luna: Lunasched) -> list[str]:
    return [job["name"] for job in luna.json("list")]


def test_importing_again(luna: Lunasched) -> None:
    first = put(luna, "@daily /bin/one\n@daily /bin/two\n")
    assert "2 added" in first.stdout
    before = names(luna)
    assert before == sorted(before) and before[0].startswith("one-")
    luna("disable", before[0])
    again = put(luna, "@daily /bin/two\n# moved\n@daily /bin/one\n")
    assert "0 added, 0 changed, 0 removed, 2 unchanged" in again.stdout
    assert not luna.json("get", before[0])["enabled"]
    changed = "@weekly /bin/two\n@daily /bin/one\n@daily /bin/three\n"
    refused = put(luna, changed, check=False)
    assert (refused.returncode, names(luna)) == (2, before)
    assert "--replace" in refused.stderr
    planned = put(luna, changed, "--dry-run")
    assert "1 to add, 1 to change" in planned.stdout
    assert names(luna) == before
    put(luna, changed, "--replace")
    assert luna.json("get", before[1])["schedule"] == "@weekly"
    assert len(names(luna)) == 3


def test_nothing_is_imported_where_a_line_has_a_fault(luna: Lunasched) -> None:
    refused = put(luna, "@daily one\n60 * * * * two\n@daily\n", check=False)
    assert refused.returncode == 2
    assert "-:2: column 1: 60 is out of range" in refused.stderr
    assert "-:3: it has no command" in refused.stderr
    assert names(luna) == []


def test_timers_are_started_and_what_differs_is_said(luna: Lunasched) -> None:
    done = put(luna, "MAILTO=a@b\n0 0 * * * sleep 300 & echo started\n")
    (name,) = names(luna)
    timer = luna.machine.run(["systemctl", "is-active", f"lunasched-job@{name}.timer"])
    assert timer.stdout == "active\n"
    assert "cron mails any output to a@b" in done.stdout
    assert "KillMode=control-group" in done.stdout
    # With cgroup v1 nobody tells systemd that the rest has ended: it waits in vain.
    luna("start", name, "--wait", check=False)
    luna.machine.wait_for(
        lambda: luna.machine.run("pgrep -fx 'sleep 300'", check=False).returncode == 1,
        what="the end of what was left in the background",
    )


def test_a_file_called_crontab_is_what_its_lines_are(luna: Lunasched) -> None:
    luna.machine.write_file("/srv/crontab", "@daily mail -s hi root\n")
    done = luna("import-crontab", "--dry-run", "/srv/crontab")
    assert "looks like a user's own crontab; if it is not, use --system-format" in done.stderr
    assert "mail -s hi root" in done.stdout
    luna.machine.write_file("/srv/crontab", "@daily root id\n")
    done = luna("import-crontab", "--dry-run", "/srv/crontab")
    assert "a user before each command; if it is not, use --user-format" in done.stderr
    luna.machine.run(["rm", "/srv/crontab"])


def test_a_condition_that_does_not_hold_is_no_failure_with_what_is_said(luna: Lunasched) -> None:
    """Both remedies that the import prints."""
    done = put(luna, 'MAILTO=""\n0 1 * * * [ "$(date +\\%Y)" = 1999 ] && echo billing\n')
    assert "SuccessExitStatus=1 (its key systemd)" in done.stdout
    assert "'if ...; then ...; fi'" in done.stdout
    (name,) = names(luna)
    assert luna("start", name, "--wait", check=False).returncode == 1
    schedule = ("--schedule", "0 1 * * *")
    test = '[ "$(date +%Y)" = 1999 ]'
    luna(
        "add",
        "--name",
        luna.name,
        *schedule,
        "--systemd",
        "SuccessExitStatus=1",
        "--command",
        f"{test} && echo billing",
    )
    luna("start", luna.name, "--wait")
    other = f"{luna.name}-if"
    luna("add", "--name", other, *schedule, "--command", f"if {test}; then echo billing; fi")
    luna("start", other, "--wait")
    for one, result in ((name, "exit-code"), (luna.name, "success"), (other, "success")):
        (run,) = luna.wait_for_runs(one, 1)
        assert run["result"] == result
    luna("remove", other)


def test_a_crontab_of_another_machine_is_asked_about(luna: Lunasched) -> None:
    done = put(luna, "@daily webadmin /srv/a\n@daily webadmin /srv/b\n", check=False)
    assert done.returncode != 0
    assert "'webadmin' before the path is neither a program here nor a user" in done.stderr
    assert names(luna) == []
    put(luna, "@daily webadmin /srv/a\n@daily env /srv/b\n")
    assert len(names(luna)) == 2


def test_entries_that_are_gone_are_named(luna: Lunasched) -> None:
    luna.machine.write_file("/etc/cron.d/gone", "@daily root a\n@daily root b\n")
    luna("import-crontab", "/etc/cron.d/gone")
    (first, _) = names(luna)
    luna.machine.write_file("/etc/cron.d/gone", "@daily root b\n")
    done = luna("import-crontab", "/etc/cron.d/gone")
    luna.machine.run(["rm", "/etc/cron.d/gone"])
    assert f"lunasched remove {first}" in done.stderr
    assert done.stdout.splitlines()[-1].endswith(": mv /etc/cron.d/gone /root/")


def test_ones_own_crontab(with_cron: Machine, luna: Lunasched) -> None:
    with_cron.run("crontab -r 2>/dev/null; true")
    none = luna("import-crontab", check=False)
    assert none.returncode == 2
    assert "no crontab for root" in none.stderr
    with_cron.run(["crontab", "-"], input="@daily mine\n")
    luna("import-crontab")
    with_cron.run(["crontab", "-r"])
    (name,) = names(luna)
    assert luna.json("get", name)["user"] is None
    with_cron.write_file("/etc/cron.d/not.run", "@daily nobody at-all\n")
    assert "Debian's cron ignores" in luna("import-crontab", "/etc/cron.d/not.run").stderr
    with_cron.run(["rm", "/etc/cron.d/not.run"])
    luna("remove", next(job["name"] for job in luna.json("list") if job["user"] == "nobody"))
    with_cron.write_file("/var/spool/cron/crontabs/luna", "@daily hers\n", mode=0o600)
    luna("import-crontab", "/var/spool/cron/crontabs/luna")
    assert {job["user"] for job in luna.json("list")} == {None, "luna"}


def test_without_a_program_crontab(own: Lunasched) -> None:
    own.machine.run("! test -e /usr/bin/crontab || mv /usr/bin/crontab /usr/bin/.crontab")
    done = own("import-crontab", check=False)
    own.machine.run("! test -e /usr/bin/.crontab || mv /usr/bin/.crontab /usr/bin/crontab")
    assert done.returncode == 2
    assert "name a file" in done.stderr


def test_an_ordinary_users_crontab(own: Lunasched) -> None:
    refused = put(own, "@daily root a\n", "--system-format", check=False)
    assert (refused.returncode, names(own)) == (2, [])
    assert "import it as root" in refused.stderr
    put(own, "@yearly id -un; cat; echo $PATH%in%put\n")
    (name,) = names(own)
    own("start", name, "--wait")
    (run,) = own.wait_for_runs(name, 1)
    assert run["output"] == "luna\nin\nput\n/usr/bin:/bin\n"

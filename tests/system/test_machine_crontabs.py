"""A machine without cron: its crontabs are jobs, and follow their files within a moment."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest
from campaign import rounds

from lunasched.doctor.crontabcheck import WATCHED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from installed import Lunasched

pytestmark = pytest.mark.machine

SPOOL = "/var/spool/cron/crontabs"
UNITS = "lunasched-crontabs.path lunasched-crontabs.service"
IDLE = """
for unit in lunasched-crontabs.service lunasched-crontabs-again@success.service; do
    systemctl show -P ActiveState $unit | grep -Eqx 'inactive|failed' || exit 1
done
systemctl list-jobs | grep -q 'lunasched-crontabs' && exit 1
exit 0
"""


class Crontabs:
    """The crontabs of a machine, each written as programs do: beside it, and renamed."""

    def __init__(self, luna: Lunasched) -> None:
        self.luna = luna
        self.machine = luna.machine

    def write(self, path: str, text: str, mode: str = "644", owner: str = "root") -> None:
        self.machine.exec(
            f"cat >/root/new; chown {owner} /root/new; chmod {mode} /root/new; mv /root/new {path}",
            input=text,
        )

    def jobs(self) -> dict[str, str]:
        """The schedules of the timers that run, by job."""
        self.machine.wait_for(IDLE, what="the crontabs to be read")
        return {
            job["name"]: job["schedule"]
            for job in self.luna.json("list")
            if job["name"].startswith(("cron.d-", "crontab"))
        }

    def wait_for(self, *names: str) -> None:
        self.machine.wait_for(
            lambda: set(self.jobs()) == set(names), what=f"the jobs {names}", interval=0.3
        )


@pytest.fixture
def crontabs(luna: Lunasched) -> Iterator[Crontabs]:
    """Those of the machine are lunasched's; what packages have there is put aside."""
    machine = luna.machine
    machine.exec(
        f"mkdir -p {SPOOL} /etc/cron.d /root/aside; chmod 1730 {SPOOL};"
        " mv /etc/crontab /etc/cron.d/* /root/aside/ 2>/dev/null;"
        f" systemctl enable --quiet --now {UNITS}"
    )
    yield Crontabs(luna)
    machine.exec(
        f"systemctl disable --quiet --now {UNITS}; rm -rf /etc/crontab /etc/cron.d/* {SPOOL}/*;"
        " lunasched crontabs --release"
    )
    assert machine.exec("ls /etc/systemd/system | grep -c cron", check=False).stdout == "0\n"
    machine.exec("mv /root/aside/* /etc/cron.d/", check=False)


def test_they_follow_their_files(crontabs: Crontabs) -> None:
    machine = crontabs.machine
    crontabs.write("/etc/crontab", "1 1 * * * root /bin/first\n")
    crontabs.write("/etc/cron.d/report", "2 2 * * * www-data /bin/report -f x\n61 * * * * root y\n")
    crontabs.write(f"{SPOOL}/luna", "3 3 * * * /bin/mine a\n", "600", "luna")
    crontabs.wait_for("crontab-first", "cron.d-report", "crontab.luna-mine")
    timers = machine.run("systemctl list-timers --all --plain --no-legend").stdout
    assert all(f"lunasched-job@{name}.timer" in timers for name in crontabs.jobs())
    said = machine.run("journalctl -b -o cat -u lunasched-crontabs.service").stdout
    assert "warning: /etc/cron.d/report:2: " in said
    # The user's own business, and theirs alone, as that of a crontab that not all may read.
    seen = machine.run("systemctl cat lunasched-job@crontab.luna-mine", user="luna").stdout
    assert "ExecStart=/bin/sh -c ${LUNASCHED_ARGUMENT_1}" in seen and "/bin/mine" not in seen
    assert "/bin/report -f x" in machine.run("systemctl cat lunasched-job@cron.d-report").stdout
    crontabs.write("/etc/cron.d/report", "2 2 * * * www-data /bin/report -f x\n", "640")
    machine.wait_for(
        "! systemctl cat lunasched-job@cron.d-report | grep -q /bin/report",
        what="it to be private",
    )
    # An edit changes its own job, the name stays.
    crontabs.write(f"{SPOOL}/luna", "# about\n3 4 * * * /bin/mine b\n", "600", "luna")
    machine.wait_for(lambda: crontabs.jobs().get("crontab.luna-mine") == "3 4 * * *")
    said = machine.run("journalctl -b -o cat -u lunasched-crontabs.service").stdout
    assert "command: it changes" in said and "/bin/mine" not in said
    # What cron would not read is not run, and is again once it may be.
    machine.exec(f"chmod 644 {SPOOL}/luna")
    crontabs.wait_for("crontab-first", "cron.d-report")
    machine.exec(f"chmod 600 {SPOOL}/luna")
    crontabs.wait_for("crontab-first", "cron.d-report", "crontab.luna-mine")
    machine.exec(f"rm /etc/crontab {SPOOL}/luna; mv /etc/cron.d/report /etc/cron.d/report.bak")
    crontabs.wait_for()


def test_variables_of_the_machine_follow_their_files(crontabs: Crontabs) -> None:
    """A proxy, say; what the crontab sets itself is above them."""
    machine = crontabs.machine

    def of_job() -> dict[str, str]:
        machine.wait_for(IDLE, what="the crontabs to be read")
        return dict(crontabs.luna.json("get", "cron.d-net-fetch")["env"])

    own = {"A": "own", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    machine.exec("mkdir /root/files; mv /etc/environment /etc/default/locale /root/files")
    crontabs.write("/etc/cron.d/net", "A=own\n1 1 * * * root /bin/fetch\n")
    crontabs.wait_for("cron.d-net-fetch")
    assert of_job() == own
    try:
        crontabs.write("/etc/environment", 'http_proxy="http://p:3128" \nA=1\nPATH=/snap/bin\n')
        machine.wait_for(lambda: of_job() == {**own, "http_proxy": 'http://p:3128" '})
        machine.exec("echo http_proxy=http://q:3128 >/etc/environment")
        machine.wait_for(lambda: of_job() == {**own, "http_proxy": "http://q:3128"})
        crontabs.write("/etc/default/locale", "LC_TIME=C.UTF-8\n")
        machine.exec("rm /etc/environment")
        machine.wait_for(lambda: of_job() == {**own, "LC_TIME": "C.UTF-8"})
        machine.exec("rm /etc/default/locale")
        machine.wait_for(lambda: of_job() == own)
    finally:
        machine.exec("mv /root/files/environment /etc; mv /root/files/locale /etc/default")


def test_a_comment_limits_an_entry_and_raises_none(crontabs: Crontabs) -> None:
    """A user can bind the own entries, and not have them run as root, or before others."""
    machine = crontabs.machine
    crontabs.write(
        f"{SPOOL}/luna",
        "# lunasched: timeout=90 max_memory=64M overlap=skip execution_mode=Sequential tags=mine\n"
        "3 3 * * * /bin/first\n"
        "# lunasched: user=root\n# lunasched: priority=Critical\n# lunasched: tasks_max=9\n"
        "4 3 * * * /bin/second\n",
        "600",
        "luna",
    )
    crontabs.wait_for("crontab.luna-first", "crontab.luna-second")
    show = "systemctl show -p RuntimeMaxUSec,MemoryMax,TasksMax,User lunasched-job@{}"
    first = machine.exec(show.format("crontab.luna-first")).stdout.splitlines()
    assert {"RuntimeMaxUSec=1min 30s", "MemoryMax=67108864", "User=luna"} <= {*first}
    second = machine.exec(show.format("crontab.luna-second")).stdout.splitlines()
    assert {"User=luna", "TasksMax=9"} <= {*second}
    assert "Nice=" not in machine.exec("systemctl cat lunasched-job@crontab.luna-second").stdout
    said = machine.run("journalctl -b -o cat -u lunasched-crontabs.service").stdout
    assert f"{SPOOL}/luna:3: 'user' is not a key for an entry of a crontab" in said
    assert f"{SPOOL}/luna:4: priority takes from others" in said
    assert [job["tags"] for job in crontabs.luna.json("list")] == [["mine"], []]


def test_the_user_of_a_crontab_may_be_made_after_it(crontabs: Crontabs) -> None:
    """Written in place: the overlay of the machine reports no rename to who watches the file."""
    machine = crontabs.machine
    machine.exec("cp -a /etc/passwd /root/passwd; cp -a /etc/passwd /etc/p; mv /etc/p /etc/passwd")
    machine.exec("systemctl restart lunasched-crontabs.path")
    try:
        crontabs.write("/etc/cron.d/late", "1 2 * * * later /bin/of-theirs\n2 2 * * * root true\n")
        crontabs.wait_for("cron.d-late-true")
        machine.exec("echo later:x:4321:100::/nonexistent:/bin/sh >>/etc/passwd")
        crontabs.wait_for("cron.d-late-true", "cron.d-late-of-theirs")
    finally:
        machine.exec("cp -a /root/passwd /etc/p; mv /etc/p /etc/passwd")


def test_each_path_is_watched_whatever_else_is_missing(crontabs: Crontabs) -> None:
    """A unit that watched several was told of no rename beside a path that is not there."""
    machine = crontabs.machine
    machine.exec("rm -f /etc/anacrontab; echo '0 1 * * * root /bin/first' >/etc/crontab")
    crontabs.wait_for("crontab-first")
    for hour in range(2, 6):
        crontabs.write("/etc/crontab", f"0 {hour} * * * root /bin/first\n")
        machine.wait_for(
            lambda: crontabs.jobs() == {"crontab-first": f"0 {hour} * * *"},  # noqa: B023
            what="the rename to be seen",
            interval=0.3,
        )
    # Who stops the unit that is known by name stops all of them.
    active = "systemctl list-units --plain --no-legend --state=active 'lunasched-crontabs*.path'"
    assert len(machine.exec(active).stdout.splitlines()) == 1 + len(WATCHED)
    machine.exec("systemctl stop lunasched-crontabs.path")
    assert machine.exec(active).stdout == ""
    machine.exec("systemctl start lunasched-crontabs.path")
    assert len(machine.exec(active).stdout.splitlines()) == 1 + len(WATCHED)


def test_no_edit_is_missed_whenever_it_comes(crontabs: Crontabs, rng: random.Random) -> None:
    """Also while the crontabs are read because of the edit before it."""
    moments = [rng.choice((0.0, 0.05, 0.2, rng.uniform(0.2, 1.5))) for _ in range(15)]
    print("pauses:", moments)
    edits = "; ".join(
        f"echo '{number} 5 * * * root /bin/edited' >/etc/cron.d/.new;"
        f" mv /etc/cron.d/.new /etc/cron.d/edited; sleep {pause:.2f}"
        for number, pause in enumerate(moments)
    )
    crontabs.machine.exec(edits, timeout=120)
    crontabs.machine.wait_for(
        lambda: crontabs.jobs() == {"cron.d-edited": f"{len(moments) - 1} 5 * * *"},
        what="the last edit",
        interval=0.3,
    )


@pytest.mark.campaign
def test_a_kill_loses_no_entry_and_doubles_none(crontabs: Crontabs, rng: random.Random) -> None:
    """Wherever it comes: what it left undone is done without another edit."""
    machine = crontabs.machine
    entries = {f"cron.d-many-job{each}": f"1 3 * * * root /bin/job{each}\n" for each in "abcdefgh"}
    listed = "systemctl list-units --plain --no-legend --state=active 'lunasched-job@cron.d-many*'"
    for _ in range(rounds(4, 100)):
        chosen = sorted(rng.sample(sorted(entries), rng.randint(1, len(entries))))
        crontabs.write("/etc/cron.d/many", "".join(entries[name] for name in chosen))
        kill = "systemctl kill -s KILL lunasched-crontabs.service"
        machine.exec(f"sleep {rng.uniform(0, 0.9):.3f}; {kill}", check=False)
        crontabs.wait_for(*chosen)
        active = [line.split()[0] for line in machine.exec(listed).stdout.splitlines()]
        assert active == [f"lunasched-job@{name}.timer" for name in chosen]
    assert "as it should be" in crontabs.luna("sync").stdout


@pytest.mark.campaign
def test_an_adoption_that_is_killed_leaves_one_job(crontabs: Crontabs, rng: random.Random) -> None:
    """Of the crontab or of none, and not both."""
    luna, machine = crontabs.luna, crontabs.machine
    for number in range(rounds(4, 100)):
        name, entry = f"cron.d-mine-run{number}", f"1 3 * * * root /bin/run{number}\n"
        crontabs.write("/etc/cron.d/mine", entry)
        crontabs.wait_for(name)
        killed = f"timeout -s KILL {rng.uniform(0.1, 0.7):.3f} lunasched adopt-crontab {name}"
        machine.exec(killed, check=False)
        machine.wait_for("! [ -s /var/lib/lunasched/jobs.db-journal ]", what="it to be settled")
        # Whoever reads them all next.
        luna("crontabs")
        assert list(crontabs.jobs()) == [name]
        text = machine.read_file("/etc/cron.d/mine")
        assert text in (entry, f"#{entry}")
        again = luna("adopt-crontab", name, check=False)
        assert again.returncode == 0 or "comes from no crontab" in again.stderr
        assert text == entry or again.returncode != 0
        assert list(crontabs.jobs()) == [name]
        luna("remove", name)
        assert "as it should be" in luna("sync").stdout


def test_a_note_that_cannot_be_written_makes_no_circle(crontabs: Crontabs) -> None:
    """As where /run is full: the crontabs are read once for each change, not for ever."""
    machine, note = crontabs.machine, "/run/lunasched/crontabs-seen"
    crontabs.jobs()
    machine.exec(f"rm -f {note}; mkdir {note}")
    begun = machine.exec("date +%s.%N").stdout.strip()
    try:
        crontabs.write("/etc/crontab", "1 1 * * * root /bin/first\n")
        crontabs.wait_for("crontab-first")
        machine.wait_for(IDLE, what="the crontabs to be read")
        read = f"journalctl -b -o cat -u lunasched-crontabs.service --since=@{begun}"
        assert machine.exec(f"{read} | grep -c ^Finished").stdout == "1\n"
    finally:
        machine.exec(f"rmdir {note}")


def test_what_they_run(crontabs: Crontabs) -> None:
    luna = crontabs.luna
    crontabs.write(
        f"{SPOOL}/luna",
        "A=b c\n0 4 * * * echo $A; cat; env | sort | cut -d= -f1 | paste -sd,; exit 3%one%two\n",
        "600", "luna",
    )  # fmt: skip
    crontabs.wait_for("crontab.luna-echo")
    before = len(luna.history("crontab.luna-echo"))
    luna("start", "crontab.luna-echo", "--wait")
    run = luna.wait_for_runs("crontab.luna-echo", before + 1)[0]
    assert (run["result"], run["exit_code"]) == ("success", 3)
    first, one, two, variables = run["output"].splitlines()
    assert (first, one, two) == ("b c", "one", "two")
    assert {"A", "HOME", "LOGNAME", "PATH", "SHELL", "USER"} <= set(variables.split(","))
    assert not {"LUNASCHED_INPUT", "SHLVL", "OLDPWD"} & set(variables.split(","))
    seen = luna.machine.run("systemctl show --all lunasched-job@crontab.luna-echo").stdout
    assert "one" not in seen.split("ExecStart=", 1)[1].split("\n", 1)[0]


def test_where_they_come_from_and_where_they_are_edited(crontabs: Crontabs) -> None:
    machine, luna = crontabs.machine, crontabs.luna
    crontabs.write("/etc/cron.d/report", "# about\n\n2 2 * * * root /bin/report -f x\n")
    crontabs.write(f"{SPOOL}/luna", "# mine\n3 3 * * * /bin/mine a\n", "600", "luna")
    crontabs.wait_for("cron.d-report", "crontab.luna-mine")
    luna("add", "--name", luna.name, "--schedule", "@yearly", "--command", "true")
    header, *rows = luna("list").stdout.splitlines()
    assert header.endswith("  FROM")
    found = {row.split()[0]: row[header.index("FROM") :] for row in rows}
    assert found == {
        luna.name: "-",
        "cron.d-report": "cron.d/report:3",
        "crontab.luna-mine": "crontab of luna:2",
    }
    shown = luna("get", "cron.d-report").stdout
    assert re.search(
        r"From: +cron.d/report:3\nIts line: +2 2 \* \* \* root /bin/report -f x\n", shown
    )
    listed = {job["name"]: job["origin"] for job in luna.json("list")}
    assert listed[luna.name] is None
    assert luna.json("get", "crontab.luna-mine")["origin"] == listed["crontab.luna-mine"]
    assert listed["crontab.luna-mine"] == {
        "file": f"{SPOOL}/luna", "line": 2, "text": "3 3 * * * /bin/mine a",
    }  # fmt: skip
    # An editor that notes how it was called, and crontab(1) as Debian has it: it edits a copy.
    machine.write_file(
        "/root/bin/vi", 'echo "called $*" >>/tmp/edited; exit "${STATUS:-0}"\n', mode=0o755
    )
    machine.write_file("/usr/local/bin/crontab", CRONTAB_E, mode=0o755)
    machine.exec("rm -f /tmp/edited; sed -i '1i #!/bin/sh' /root/bin/vi")
    for name in ("cron.d-report", "crontab.luna-mine"):
        machine.run(["lunasched", "edit", name], env={"VISUAL": "/root/bin/vi -n"})
    assert machine.read_file("/tmp/edited").splitlines() == [
        "called -n +3 /etc/cron.d/report", "called -n +2 /tmp/crontab.of.luna",
    ]  # fmt: skip
    failing = {"VISUAL": "/root/bin/vi", "STATUS": "3"}
    done = machine.run(["lunasched", "edit", "cron.d-report"], env=failing, check=False)
    assert (done.returncode, "ended with exit status 3" in done.stderr) == (1, True)
    machine.exec("rm /usr/local/bin/crontab")


SCRIPT = """\
#!/bin/sh
echo "$(pwd) $0" >>/root/scripts.log
{}
echo "end of $0" >>/root/scripts.log
"""
GUARDED = "test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }"


def test_each_script_of_a_directory_is_a_job(crontabs: Crontabs) -> None:
    """In the order of run-parts, though the first takes longest and the second fails."""
    machine, luna = crontabs.machine, crontabs.luna
    daily = "/etc/cron.daily"
    machine.exec(f"mv {daily} /root/daily 2>/dev/null; mkdir -p {daily}; rm -f /root/scripts.log")

    def scripts() -> dict[str, str]:
        crontabs.jobs()
        found = luna.json("list")
        return {job["name"]: job["schedule"] for job in found if job["name"].startswith("cron.")}

    def wait_for(expected: dict[str, str]) -> None:
        machine.wait_for(lambda: scripts() == expected, what=f"the jobs {expected}", interval=0.3)

    try:
        for name, work in (("a", "sleep 2"), ("b", "echo words; exit 3"), ("c", "true")):
            crontabs.write(f"{daily}/{name}", SCRIPT.format(work), "755")
        crontabs.write(f"{daily}/not.one", SCRIPT.format("true"), "755")
        crontabs.write("/etc/crontab", f"MAILTO=ops\n* * * * * root {GUARDED}\n")
        names = ["cron.daily-a", "cron.daily-b", "cron.daily-c"]
        wait_for(dict.fromkeys(names, "* * * * *"))
        assert {job["origin"]["file"] for job in luna.json("list")} == {
            f"{daily}/{name}" for name in "abc"
        }
        (last,) = luna.wait_for_runs(names[2], 1)[:1]
        a, b = (luna.history(name)[0] for name in names[:2])
        assert a["scheduled_at"] == b["scheduled_at"] == last["scheduled_at"]
        assert [run["result"] for run in (a, b, last)] == ["success", "exit-code", "success"]
        assert (b["exit_code"], b["output"]) == (
            1, f"{daily}/b:\nwords\nrun-parts: {daily}/b exited with return code 3\n",
        )  # fmt: skip
        log = machine.read_file("/root/scripts.log").splitlines()
        expected = ["/ {}/a", "end of {}/a", "/ {}/b", "/ {}/c", "end of {}/c"]
        assert log[:5] == [line.format(daily) for line in expected]
        # What is no script any more has no job, and a new one has one; all without a command.
        machine.exec(f"chmod -x {daily}/b")
        crontabs.write(f"{daily}/d", SCRIPT.format("true"), "755")
        wait_for(dict.fromkeys(["cron.daily-a", "cron.daily-c", "cron.daily-d"], "* * * * *"))
        assert luna.json("get", "cron.daily-d")["after"] == ["cron.daily-a", "cron.daily-c"]
        # The table of anacron has them for itself, but not if anacron is there.
        crontabs.write("/etc/anacrontab", f"1 5 cron.daily run-parts --report {daily}\n")
        wait_for(dict.fromkeys(["cron.daily-a", "cron.daily-c", "cron.daily-d"], "35 7 * * *"))
        crontabs.write("/usr/sbin/anacron", "#!/bin/sh\n", "755")
        wait_for({})
        machine.exec("rm /usr/sbin/anacron")
        wait_for(dict.fromkeys(["cron.daily-a", "cron.daily-c", "cron.daily-d"], "35 7 * * *"))
    finally:
        machine.exec(
            f"rm -rf {daily} /etc/anacrontab /usr/sbin/anacron; mv /root/daily {daily}", check=False
        )


def test_output_is_mailed_where_something_mails(crontabs: Crontabs) -> None:
    """As soon as there is a sendmail, and no longer: each mail would be given up."""
    crontabs.write("/etc/crontab", "MAILTO=ops\n1 1 * * * root /bin/first\n")
    crontabs.wait_for("crontab-first")

    def mailed_to() -> list[str]:
        crontabs.jobs()
        job = crontabs.luna.json("get", "crontab-first")
        return [channel["to"] for channel in job["notification_config"]["on_output"]]

    assert mailed_to() == ["ops"]
    crontabs.machine.exec("mv /usr/sbin/sendmail /usr/sbin/aside")
    try:
        crontabs.machine.wait_for(lambda: mailed_to() == [], what="nobody to be mailed")
    finally:
        crontabs.machine.exec("mv /usr/sbin/aside /usr/sbin/sendmail")
    crontabs.machine.wait_for(lambda: mailed_to() == ["ops"], what="ops to be mailed again")


def test_an_entry_becomes_a_job_of_its_own(crontabs: Crontabs) -> None:
    """With its timer as it is; its line is a comment, and what is below it stays where it was."""
    machine, luna = crontabs.machine, crontabs.luna
    file, own = "/etc/cron.d/report", f"{SPOOL}/luna"
    crontabs.write(file, "1 1 * * * root /bin/first\n2 2 * * * root /bin/second\n", "640")
    text = "# lunasched: timeout=1h\n3 3 * * * /bin/mine a\n4 4 * * * b\n"
    crontabs.write(own, text, "600", "luna")
    names = ["cron.d-report-first", "cron.d-report-second", "crontab.luna-mine", "crontab.luna-b"]
    crontabs.wait_for(*names)
    adopted = [names[0], names[2]]
    timers = " ".join(f"lunasched-job@{name}.timer" for name in adopted)
    since = f"systemctl show -P ActiveEnterTimestampMonotonic {timers}"
    before = machine.exec(since).stdout
    said = luna("adopt-crontab", *adopted).stdout
    assert said == (
        "Adopted 'cron.d-report-first': it is a job of no crontab now, and cron.d/report:1 is a "
        "comment.\nAdopted 'crontab.luna-mine': it is a job of no crontab now, and crontab of "
        "luna:2 is a comment.\n"
    )
    assert machine.read_file(file) == "#1 1 * * * root /bin/first\n2 2 * * * root /bin/second\n"
    assert machine.read_file(own).splitlines()[1:] == ["#3 3 * * * /bin/mine a", "4 4 * * * b"]
    assert machine.exec(f"stat -c '%a %U' {file} {own}").stdout == "640 root\n600 luna\n"
    crontabs.wait_for(*names)
    origins = {job["name"]: job["origin"] for job in luna.json("list")}
    assert [origins[name] is None for name in names] == [True, False, True, False]
    assert machine.exec(since).stdout == before
    assert luna.json("get", "crontab.luna-mine")["resource_limits"]["timeout_seconds"] == 3600
    # From now on it is changed like any other.
    luna("remove", adopted[0])
    for name, status, reason in ((adopted[1], 2, "comes from no crontab"), ("none", 3, "no job")):
        refused = luna("adopt-crontab", name, check=False)
        assert (refused.returncode, reason in refused.stderr) == (status, True), refused.stderr
    luna("remove", adopted[1])


SENDMAIL = """\
#!/bin/sh
[ ! -e /root/fails ] || exit 75
{ echo "$(id -un) $*"; cat; } >"/var/tmp/mails/$(date +%s%N)"
"""


def test_what_is_not_run_is_mailed_once(crontabs: Crontabs) -> None:
    """To whom cron mails what the line prints, as the user of the crontab; and by the next boot."""
    machine = crontabs.machine
    machine.exec("mkdir -p -m 1777 /var/tmp/mails; mv /usr/sbin/sendmail /usr/sbin/aside")
    machine.write_file("/usr/sbin/sendmail", SENDMAIL, mode=0o755)
    bad = "61 * * * * root /bin/növer\n"

    def mails() -> list[str]:
        crontabs.jobs()
        each = "for mail in *; do [ ! -f $mail ] || { cat $mail; echo ==; }; done"
        return machine.exec(f"cd /var/tmp/mails; {each}").stdout.split("==\n")[:-1]

    def wait_for(number: int) -> list[str]:
        machine.wait_for(lambda: len(mails()) == number, what=f"{number} mails")
        return mails()

    try:
        crontabs.write("/etc/crontab", f"1 1 * * * root /bin/first\nMAILTO=ops,root\n{bad}")
        nobodys = 'MAILTO=""\n@no z\n'
        crontabs.write(f"{SPOOL}/luna", f"@never x\n2 2 * * 8 y\n{nobodys}", "600", "luna")
        of_root, of_luna = sorted(wait_for(2), reverse=True)
        assert of_root.startswith("root -i -B8BITMIME -oem -t\n")
        assert "\nTo: ops, root\n" in of_root
        assert re.search(r"\nSubject: Cron <root@.*> /etc/crontab: 1 line is not run\n", of_root)
        assert "\n/etc/crontab:3: " in of_root and f"\n    {bad}" in of_root
        assert of_luna.startswith("luna -i")
        assert "2 lines are not run" in of_luna and "@no" not in of_luna
        # Neither a move of the line nor another fault in its file mails it again.
        more = "1 1 * * * root /bin/first\n62 * * * * root x\n"
        crontabs.write("/etc/crontab", f"MAILTO=ops,root\n\n{bad}{more}")
        new = [mail for mail in wait_for(3) if "62 *" in mail]
        assert len(new) == 1 and "növer" not in new[0]
        machine.exec("systemctl start lunasched-crontabs.service")
        assert len(mails()) == 3
        # What no program has taken is sent later, also by a run after a boot.
        machine.exec("touch /root/fails")
        crontabs.write("/etc/crontab", "63 * * * * root x\n")
        failed = "systemctl list-units --plain --no-legend 'lunasched-crontab-mail-*'"
        machine.wait_for(f"{failed} | grep activating", what="the mail to fail")
        assert len(mails()) == 3
        machine.exec("rm /root/fails; systemctl stop 'lunasched-crontab-mail-*'")
        machine.exec("systemctl start lunasched-crontabs.service")
        assert "63 *" in "".join(wait_for(4))
        machine.wait_for("! ls /var/lib/lunasched/crontab-mails | grep -q :", what="no letter left")
        # A file that cron would not read is root's to fix, whosever it is.
        crontabs.write(f"{SPOOL}/luna", "2 2 * * * y\n", "644", "luna")
        (unread,) = [mail for mail in wait_for(5) if "0644" in mail]
        assert re.search(rf"\nSubject: Cron <root@.*> {SPOOL}/luna: it is not run\n", unread)
        assert f"\n{SPOOL}/luna: is not read: its mode is 0644, and not 0600; " in unread
        assert f"to have it read: chmod 600 {SPOOL}/luna\n" in unread
    finally:
        machine.exec("mv /usr/sbin/aside /usr/sbin/sendmail; rm -rf /var/tmp/mails /root/fails")


CRONTAB_E = """\
#!/bin/sh
[ "$1 $3" = "-u -e" ] || exit 9
exec sh -c "$VISUAL /tmp/crontab.of.$2"
"""
CRON = "[Service]\nExecStart=/bin/sleep infinity\n"


def test_nothing_is_run_beside_cron(crontabs: Crontabs) -> None:
    machine, luna = crontabs.machine, crontabs.luna
    crontabs.write("/etc/crontab", "1 1 * * * root /bin/first\n")
    crontabs.wait_for("crontab-first")
    machine.write_file("/run/systemd/system/cron.service", CRON)
    machine.exec("systemctl daemon-reload; systemctl start cron")
    assert (
        "cron is running (cron.service) beside 1 job of crontabs"
        in luna("doctor", check=False).stdout
    )
    done = luna("crontabs", check=False)
    assert (done.returncode, "each entry would run twice" in done.stderr) == (2, True)
    assert "systemctl disable --now cron.service" in done.stderr
    planned = luna("crontabs", "--dry-run").stdout
    assert planned == "Plan: 0 to add, 0 to change, 0 to remove, 1 unchanged.\n"
    assert "- crontab-first" in luna("crontabs", "--release").stdout
    assert crontabs.jobs() == {}
    machine.exec(
        "systemctl stop cron; rm /run/systemd/system/cron.service; systemctl daemon-reload"
    )
    refused = machine.run("lunasched --user crontabs --take-over", user="luna", check=False)
    assert (refused.returncode, "jobs of the system" in refused.stderr) == (2, True)

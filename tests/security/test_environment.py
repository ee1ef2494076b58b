"""Nothing of ours runs with more rights than a job's user where that user has a say in it.

What is tried is what the templates have: a guard, a condition, a hook or a channel that is new is
tried without anybody remembering it.
"""

from __future__ import annotations

import json
import random
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from attackers import SUITES
from campaign import rounds
from machine import Machine

from lunasched.errors import InvalidJob
from lunasched.jobs.directives import REFUSED
from lunasched.jobs.keys import KEYS
from lunasched.jobs.reading import job_from_mapping
from lunasched.jobs.runfacts import RUN_FACTS, Medium
from lunasched.paths import Mode, unit_scripts, unit_templates
from lunasched.supervisor import consequences, variables
from lunasched.units import compiler
from lunasched.units.compiler import Context, Unit

EVIL = "/home/luna/evil"
LOG = "/srv/evil/log"
SLOT_KINDS: dict[str, dict[str, Any]] = {
    # Each kind of unit that there is, in jobs that their user wants to be bad.
    "guarded": {"overlap": "skip", "catch_up": True},
    "next": {"dependencies": ["{name}-guarded"]},
    "parallel": {"execution_mode": "Parallel", "max_concurrent": 2},
    "replace": {"overlap": "replace"},
    "strict": {"sandbox": {"protect_system": "strict"}},
}
PROGRAMS = (
    "lunasched", "systemctl", "busctl", "sync", "python3", "bash", "sh", "rm", "touch", "cat",
    "env", "find", "cp", "mv", "mkdir", "read", "printf", "echo", "test", "true",
)  # fmt: skip
MODULES = (
    "json", "os", "pwd", "signal", "stat", "sys", "site", "sitecustomize", "usercustomize",
    "encodings", "codecs", "io", "abc",
)  # fmt: skip
VARIABLES = {
    "BASH_ENV": f"{EVIL}/start",
    "ENV": f"{EVIL}/start",
    "PATH": f"{EVIL}/bin:/usr/bin:/bin",
    "LD_PRELOAD": f"{EVIL}/evil.so",
    "LD_LIBRARY_PATH": f"{EVIL}/lib",
    "LD_AUDIT": f"{EVIL}/evil.so",
    "PYTHONPATH": EVIL,
    "PYTHONSTARTUP": f"{EVIL}/os.py",
    "PYTHONHOME": EVIL,
    "HOME": EVIL,
    "IFS": "/",
    "SHELLOPTS": "xtrace:braceexpand",
    "PS4": f"$(/bin/sh {EVIL}/start)",
    "GCONV_PATH": EVIL,
    "BASH_FUNC_read__": f"() {{ /bin/sh {EVIL}/start; }}",
    "XDG_STATE_HOME": EVIL,
    "LUNASCHED_DB_PATH": f"{EVIL}/db",
    "LC_ALL": "ps_AF.UTF-8",
    "POSIXLY_CORRECT": "1",
}
"""What an environment makes of a shell, a linker, or an interpreter; ``PS4`` with ``SHELLOPTS``."""
# A library that says who loads it, also as an auditor (rtld-audit(7)), and in the place of one that
# bash needs.
LIBRARY = r"""
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void)
{
    int log = open("/srv/evil/log", O_WRONLY | O_APPEND);
    dprintf(log, "%d library\n", (int) geteuid());
    close(log);
}
unsigned int la_version(unsigned int version) { loaded(); return version; }
char PC, *UP, *BC;
int tgetent(void) { return 0; }
int tgetflag(void) { return 0; }
int tgetnum(void) { return -1; }
char *tgetstr(void) { return 0; }
char *tgoto(void) { return 0; }
int tputs(void) { return 0; }
"""
PREPARE = f"""
set -e
/opt/lunasched/packaging/install-units
systemd-sysusers; systemd-tmpfiles --create
systemctl daemon-reload
systemctl enable --now lunasched.service
mkdir -p /srv/evil; touch {LOG}; chmod 666 {LOG}
mkdir -p {EVIL}/bin {EVIL}/lib {EVIL}/.local/bin
cd {EVIL}
printf 'echo "$(/usr/bin/id -u) start" >>{LOG}\\n' >start
for name in {" ".join(PROGRAMS)}; do
    printf '#!/bin/dash\\necho "$(/usr/bin/id -u) %s" >>{LOG}\\nPATH=/usr/bin exec %s "$@"\\n' \\
        $name $name >bin/$name
    chmod 755 bin/$name
    cp bin/$name .local/bin; cp bin/$name .
done
for name in {" ".join(MODULES)}; do
    echo 'from posix import getuid, open, write' >$name.py
    echo 'write(open("{LOG}", 1025), b"%d module\\n" % getuid())' >>$name.py
done
cp evil.so lib/libtinfo.so.6
chown -R luna: {EVIL}
"""


# Without a machine


CONTEXTS = [
    Context(
        mode,
        "UTC",
        "",
        datetime(2026, 1, 1, tzinfo=timezone.utc),
        unit_templates(),
        unit_scripts(),
        Path("/etc/systemd/system"),
        Path("/var/lib/slots"),
        Path("/run/lunasched"),
    )
    for mode in Mode
]


def jobs(name: str = "a", **more: Any) -> list[dict[str, Any]]:
    """Jobs that together have every kind of unit."""
    hook = "true"
    channel = {"type": "exec", "command": "cat"}
    found = []
    for kind, keys in SLOT_KINDS.items():
        job = {
            "name": f"{name}-{kind}",
            "schedule": "@daily",
            "command": "true",
            **json.loads(json.dumps(keys).replace("{name}", name)),
            **more,
        }
        if kind == "guarded":
            job["hooks"] = dict.fromkeys(("on_start", "on_success", "on_failure", "on_retry"), hook)
            job["notification_config"] = {"on_success": [channel]}
        found.append(job)
    return found


def units(context: Context) -> list[Unit]:
    """Every unit of these jobs, and what is for all jobs."""
    found = [compiler.gate(context)]
    for definition in jobs():
        job = job_from_mapping(definition)
        compiled = compiler.compile(
            job, context, depended_on=definition["name"] == "a-guarded", launched=["a-replace"]
        )
        found += compiled.units
        found += compiler.plain_units(job, context, "plain", ["about"])
    exclusive = job_from_mapping({**jobs()[0], "execution_mode": "Exclusive", "overlap": "queue"})
    return [*found, *compiler.compile(exclusive, context).units]


@pytest.mark.parametrize("context", CONTEXTS, ids=[mode.value for mode in Mode])
def test_no_line_has_more_rights_than_its_unit(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = set()
    environment = compiler._environment(context.templates)
    get_template = type(environment).get_template

    def noted(self: Any, name: str, *arguments: Any, **more: Any) -> Any:
        rendered.add(name)
        return get_template(self, name, *arguments, **more)

    monkeypatch.setattr(type(environment), "get_template", noted)
    lines = [
        line
        for unit in units(context)
        for line in unit.text.splitlines()
        if re.match(r"\s*Exec[A-Za-z]*\s*=", line)
    ]
    assert rendered == {path.name for path in context.templates.glob("*.j2")}
    # ExecSearchPath= is no command.
    assert {line.partition("=")[0].strip() for line in lines} <= {
        *("ExecStart", "ExecCondition", "ExecStartPre", "ExecStartPost")
    }
    for line in lines:
        value = line.partition("=")[2].strip()
        # In user mode, "+" is out of the job's sandbox, and no other user.
        outside = r"\+?" if context.mode is Mode.USER else ""
        assert re.match(rf"{outside}-?/", value), line


@pytest.mark.parametrize("name", ["ExecStart", "ExecStartPre", "ExecStartPost"])
@pytest.mark.parametrize("prefix", ["+", "!", "!!", "|", "-+", "@!", ":-+", "-@!!"])
def test_no_line_that_a_job_brings_has_more_rights_than_its_unit(name: str, prefix: str) -> None:
    definition = {"name": "a", "schedule": "@daily", "systemd": {"ExecStart": "/bin/true"}}
    job_from_mapping(definition)
    for line in (f"{prefix}/bin/true", f"'{prefix}/bin/true' x", f"/bin/true ; {prefix}/bin/true"):
        definition["systemd"] = {"ExecStart": "/bin/true", name: ["/bin/true", line]}
        with pytest.raises(InvalidJob):
            job_from_mapping(definition)


def test_a_job_brings_no_other_line() -> None:
    """Not as a directive either: there are keys for what a job may run."""
    assert {"ExecStop", "ExecStopPost", "ExecCondition", "ExecReload"} <= REFUSED.keys()


def scripts() -> list[Path]:
    return [path for path in sorted(unit_templates().iterdir()) if path.suffix != ".j2"]


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_no_script_looks_anything_up_where_others_write(script: Path) -> None:
    text = "\n".join(
        line for line in script.read_text().splitlines() if not line.lstrip().startswith("#")
    )
    assert not re.search(r"\$\{?(PATH|HOME|PWD|TMPDIR)\b|command -v|\beval\b", text)
    if "import" in text:
        return
    for program in PROGRAMS:
        builtin = program in ("echo", "read", "printf", "test", "true")
        used = re.search(rf"(?:^|[;&|(]\s*|\bexec )\s*{program} ", text, re.MULTILINE)
        assert builtin or not used, program


def test_every_key_of_a_job_is_one_that_was_thought_of() -> None:
    """A key that is new and reaches a unit's environment is to be tried below."""
    reach = {key for key in KEYS if key.startswith(("env", "user", "working"))}
    assert reach == {"env", "user", "working_directory"}


def test_hooks_take_the_variables_that_there_are() -> None:
    script = (unit_templates() / "run-hook").read_text()
    names = re.search(r"for name in \((.*?)\)\.split", script.replace('"', ""), re.DOTALL)
    assert names is not None
    words = re.findall(r"[A-Z_]+", names[1])
    assert {f"LUNASCHED_{word}" for word in words} == variables.NAMES
    sources = [Path(str(module.__file__)).read_text() for module in (variables, consequences)]
    written = re.findall(r'"(?:LUNASCHED_)?([A-Z]{3,}[A-Z_]*)"[],:]', "".join(sources))
    of_runs = {fact.variable for fact in RUN_FACTS if fact.media & (Medium.HOOK | Medium.EXEC)}
    assert {f"LUNASCHED_{name}" for name in written} | of_runs == variables.NAMES
    assert not {"LUNASCHED_DB_PATH", "LUNASCHED_CONFIG_PATH"} & variables.NAMES


# On a machine


@pytest.fixture(scope="module", params=SUITES)
def attacked(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Machine]:
    """A machine whose ordinary user has prepared everything."""
    path = tmp_path_factory.mktemp("library")
    (path / "evil.c").write_text(LIBRARY)
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-o", path / "evil.so", path / "evil.c"], check=True
    )
    with Machine.boot("guard", suite=request.param) as machine:
        target = machine.root / EVIL.lstrip("/")
        target.mkdir(parents=True)
        (target / "evil.so").write_bytes((path / "evil.so").read_bytes())
        machine.exec(PREPARE)
        machine.exec(["chown", "-R", "luna:", "/home/luna"])
        yield machine


def runs(machine: Machine, name: str) -> list[dict[str, Any]]:
    listed = machine.exec(["lunasched", "history", "--all", "--json"], timeout=120).stdout
    return [run for run in json.loads(listed) if run["job"].startswith(name) and run["result"]]


def said(machine: Machine) -> list[str]:
    return machine.read_file(LOG).splitlines()


def deploy(machine: Machine, definitions: list[dict[str, Any]]) -> None:
    machine.exec(
        ["lunasched", "apply", "/dev/stdin", "--format", "yaml"],
        input=json.dumps({"jobs": definitions}),
        timeout=300,
    )


def attack(machine: Machine, definitions: list[dict[str, Any]]) -> None:
    """Have the jobs run by their timers, by hand, and again; nothing of it may be as root."""
    machine.exec(f": >{LOG}")
    names = [job["name"] for job in definitions]
    # Their slot is to come when they are there, which takes as long as this.
    began = time.monotonic()
    deploy(machine, [{**job, "schedule": "@yearly"} for job in definitions])
    took = time.monotonic() - began
    now = float(machine.exec("date +%s.%N").stdout)
    slot = datetime.fromtimestamp(int(now + 5 + 3 * took), tz=timezone.utc)
    deploy(machine, [{**job, "schedule": f"at {slot:%H:%M:%S}"} for job in definitions])

    def by_timer() -> bool:
        timed = {run["job"] for run in runs(machine, "") if run["scheduled_at"]}
        return timed.issuperset(names)

    machine.wait_for(by_timer, 180, what="the runs by timers", interval=1)
    # Nobody announces these, so that the guards ask systemd.
    units = [f"lunasched-job@{name}.service" for name in names]
    machine.exec(["systemctl", "start", *units], check=False, timeout=120)
    for name in names:
        machine.exec(["lunasched", "start", name], check=False)
    # What a timer starts again is refused, or not; in no case by root's hand.
    timers = [f"lunasched-job@{name}.timer" for name in names]
    machine.exec(["systemctl", "restart", *timers], timeout=120)

    def over() -> bool:
        busy = "systemctl list-units --state=activating,active --plain --no-legend"
        units = machine.exec(f"{busy} 'lunasched-job@*.service' 'lunasched-hook@*.service'").stdout
        return not units and len(runs(machine, "")) >= 3 * len(names)

    machine.wait_for(over, 180, what="the runs", interval=1)
    # In a container nobody tells systemd that the process of a PAM session is over.
    ran = {run["job"] for run in runs(machine, "") if run["result"] in ("success", "timeout")}
    assert ran.issuperset(names)
    machine.exec(
        ["lunasched", "apply", "/dev/null", "--format", "yaml", "--prune", "--allow-empty"],
        timeout=300,
    )
    as_root = [line for line in said(machine) if line.startswith("0 ")]
    assert not as_root


@pytest.mark.machine
@pytest.mark.slow
@pytest.mark.campaign
def test_a_variable_makes_nobody_root(attacked: Machine, rng: random.Random) -> None:
    wanted = []
    chosen = rng.sample(sorted(VARIABLES), rounds(len(VARIABLES) // 3, len(VARIABLES)))
    for variable in sorted({*chosen, "LD_PRELOAD", "BASH_ENV"}):
        value = VARIABLES[variable]
        env = {variable: value, **({"PS4": VARIABLES["PS4"]} if variable == "SHELLOPTS" else {})}
        wanted += jobs(variable, user="luna", env=env, working_directory=EVIL)
    # A name that no shell and no interpreter of theirs stands.
    wanted = [job for job in wanted if not job["name"].startswith("PS4")]
    attack(attacked, wanted)
    # The attempts were real: what is the user's ran as the user.
    kinds = {line.partition(" ")[2] for line in said(attacked)}
    assert {"library", "start"} <= kinds or "library" in kinds
    assert {line.partition(" ")[0] for line in said(attacked)} == {"1000"}


WAYS = ["env", "crontab", "EnvironmentFile", "PassEnvironment", "PAMName"]


@pytest.mark.machine
@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_no_way_into_the_environment_makes_anybody_root(attacked: Machine, way: str) -> None:
    # All at once; not what keeps any program from running at all.
    chosen = {name: value for name, value in VARIABLES.items() if name != "PYTHONHOME"}
    lines = "".join(f"{name}={shlex.quote(value)}\n" for name, value in chosen.items())
    attacked.write_file(f"{EVIL}/variables", lines)
    name = way.lower()
    if way == "crontab":
        tab = "".join(f'{name}="{value}"\n' for name, value in chosen.items() if name != "LC_ALL")
        attacked.write_file(f"{EVIL}/crontab", f"{tab}* * * * * luna true\n")
        attacked.exec(["lunasched", "import-crontab", f"{EVIL}/crontab", "--system-format"])
        (imported,) = json.loads(attacked.exec(["lunasched", "list", "--json"]).stdout)
        exported = attacked.exec(["lunasched", "get", imported["name"], "--json"]).stdout
        env = json.loads(exported)["env"]
        assert env["BASH_ENV"] == chosen["BASH_ENV"]
        wanted = jobs(name, user="luna", env=env, working_directory=EVIL)
    elif way == "env":
        wanted = jobs(name, user="luna", env=chosen, working_directory=EVIL)
    else:
        if way == "PAMName":
            attacked.write_file(
                "/etc/pam.d/evil",
                "auth required pam_permit.so\naccount required pam_permit.so\n"
                f"session required pam_env.so readenv=1 envfile={EVIL}/variables\n",
            )
        values = {
            "EnvironmentFile": f"{EVIL}/variables",
            "PassEnvironment": " ".join(chosen),
            "PAMName": "evil",
        }
        wanted = jobs(name, user="luna", systemd={way: values[way]}, working_directory=EVIL)
    attack(attacked, wanted)
    if way != "PassEnvironment":
        assert "1000 library" in said(attacked)


ASK = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect("/run/lunasched-start.socket")
connection.sendall(f"start {sys.argv[1]}\\n".encode())
print(connection.recv(4096).decode())
"""


def hook_attack(machine: Machine, prepare: str, unit: str) -> None:
    """What whoever took the supervisor over can do: write its directory, and start a hook."""
    script = f"cd /run/lunasched/supervisor; rm -rf hooks/*; {prepare}"
    machine.run(["/bin/sh", "-c", script], user="lunasched")
    machine.exec("rm -f /srv/evil/found /srv/evil/text")
    answer = machine.run(["python3", "-c", ASK, unit], user="lunasched").stdout
    # It was started, so that the attack was one.
    assert answer.startswith("0"), answer
    state = f"systemctl show -P ActiveState {unit} | grep -x 'inactive\\|failed'"
    machine.wait_for(state, 10, what="the hook to be over")


@pytest.fixture(params=["root", "luna"])
def hooked(attacked: Machine, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The instance of a hook's unit, and of a channel's, of one user."""
    note = "env >/srv/evil/found; cat >/srv/evil/text"
    definition = {
        "name": "hooked",
        "schedule": "@yearly",
        "command": "true",
        "user": request.param,
        "hooks": {"on_success": note},
        "notification_config": {"on_success": [{"type": "exec", "command": note}]},
    }
    attacked.exec("chmod 777 /srv/evil")
    attacked.exec(
        ["lunasched", "apply", "/dev/stdin", "--format", "yaml"],
        input=json.dumps({"jobs": [definition]}),
    )
    listed = attacked.exec("ls /etc/systemd/system | grep ^lunasched-hook@hooked:exec-").stdout
    channel = listed.strip().removeprefix("lunasched-hook@").removesuffix(".service")
    yield "hooked:on_success", channel
    attacked.exec(
        "cd /run/lunasched/supervisor && [ ! -L hooks ] || { rm hooks; mv hooks.real hooks; }"
    )
    attacked.exec(["lunasched", "remove", "hooked"])


LINKS = {
    "facts": "ln -s /etc/shadow hooks/{0}",
    "text": "echo LUNASCHED_JOB=j >hooks/{0}; ln -s /etc/shadow hooks/{0}.text",
    "directory": "mv hooks hooks.real; ln -s /srv/private hooks",
    "fifo": "mkfifo hooks/{0}",
    "fifo for a text": "echo LUNASCHED_JOB=j >hooks/{0}; mkfifo hooks/{0}.text",
    "device": "ln -s /dev/zero hooks/{0}",
    "hard link": "ln /etc/shadow hooks/{0}.text; echo LUNASCHED_JOB=j >hooks/{0}",
}


@pytest.mark.machine
@pytest.mark.slow
@pytest.mark.parametrize("kind", LINKS)
def test_a_hook_reads_nothing_for_the_supervisor(
    attacked: Machine, hooked: tuple[str, str], kind: str
) -> None:
    for instance in hooked:
        # A directory with what only root and the job's user may read.
        secret = "x=1\nLUNASCHED_SUBJECT=precious\n"
        attacked.exec("rm -rf /srv/private; mkdir /srv/private; chmod 755 /srv/private")
        for name in (instance, f"{instance}.text"):
            attacked.write_file(f"/srv/private/{name}", secret)
        attacked.exec("chmod 600 /srv/private/*")
        if "luna" in attacked.exec(["lunasched", "get", "hooked", "--json"]).stdout:
            attacked.exec("chown luna: /srv/private/*")
        unit = f"lunasched-hook@{instance}.service"
        hook_attack(attacked, LINKS[kind].format(shlex.quote(instance)), unit)
        found = attacked.exec("cat /srv/evil/found /srv/evil/text", check=False).stdout
        assert "precious" not in found
        assert "root:" not in found
        journal = attacked.exec(["journalctl", "-o", "cat", "-u", unit]).stdout
        assert "root:" not in journal
        assert "precious" not in journal
        attacked.exec(
            "cd /run/lunasched/supervisor && [ ! -L hooks ] || { rm hooks; mv hooks.real hooks; }"
        )


@pytest.mark.machine
@pytest.mark.slow
def test_a_hook_is_told_nothing_but_about_the_run(
    attacked: Machine, hooked: tuple[str, str]
) -> None:
    for instance in hooked:
        names = [*VARIABLES, "LUNASCHED_DB_PATH", "LUNASCHED_CONFIG_PATH", "LUNASCHED_SMTP_SERVER"]
        lines = [f"{name}=precious" for name in names]
        lines += ["LUNASCHED_JOB=j=k", "LUNASCHED_SUBJECT=" + "x" * 100_000, "LUNASCHED_KIND=a"]
        text = "".join(f"{line}\n" for line in lines)
        quoted = shlex.quote(instance)
        attacked.write_file("/srv/evil/facts", text)
        prepare = (
            f"cp /srv/evil/facts hooks/{quoted}; echo hello >hooks/{quoted}.text;"
            f" chmod 644 hooks/{quoted}*"
        )
        hook_attack(attacked, prepare, f"lunasched-hook@{instance}.service")
        found = attacked.read_file("/srv/evil/found")
        assert "precious" not in found
        assert "LUNASCHED_JOB=j=k\n" in found
        assert "LUNASCHED_KIND=a\n" in found
        assert "LUNASCHED_SUBJECT" not in found
        assert attacked.read_file("/srv/evil/text") == "hello\n"

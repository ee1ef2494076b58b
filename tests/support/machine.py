"""A real, booted systemd to test on: a throw-away Debian container.

A Debian root is made once by ``mmdebstrap`` and cached outside the tree. Every machine is
``systemd-nspawn`` on a tmpfs overlay of it, with no network, in about a second:

    with Machine.boot() as machine:
        machine.run(["systemctl", "status"])

and from a shell, where a machine that was brought ``up`` stays until it is taken ``down``:

    python3 tests/support/machine.py run -- systemctl --no-pager status
    python3 tests/support/machine.py up NAME
    python3 tests/support/machine.py run NAME -- CMD…
    python3 tests/support/machine.py down NAME

Nothing on the host is touched besides the machine's own mounts, processes and cgroups. All of
them are found again through ``/run/lunasched-machines``, and whatever a killed process left is
taken down when the next machine starts. The container shares the *host's clock*: nspawn takes
away the right to set it, and so does `Machine.exec`, which a bare ``nsenter`` would not.

Standard library only: the demo runs this before any dependency is installed.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import hashlib
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import bytecode
from anymachine import (
    PATIENCE,
    USER,
    AnyMachine,
    MachineError,
    ProcessId,
    as_unit,
    command_line,
    environment_of,
    host_boot_id,
    host_command,
    locked,
    reap_later,
    remove_tree,
    unexpanded,
    wait_for_end,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anymachine import Caller


REPOSITORY = Path(__file__).resolve().parent.parent.parent
STATE_ROOT = Path("/run/lunasched-machines")
HOST_TOOLS = ("mmdebstrap", "systemd-nspawn", "nsenter", "unshare", "mount", "umount")
OLDEST = "bookworm"
"""The suite of the oldest systemd that is supported."""
UNSTABLE = "sid"
"""The suite of Debian without a release of its own, which has the newest systemd and Python."""

PACKAGES = (
    "acl",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "msmtp-mta",
    "passwd",
    "polkitd",
    "procps",
    "python3",
    "python3-aiosmtpd",
    "python3-croniter",
    "python3-gi",
    "python3-jinja2",
    "python3-prometheus-client",
    "python3-pydbus",
    "python3-requests",
    "python3-systemd",
    "python3-typer",
    "python3-yaml",
    "sqlite3",
    "strace",
    "systemd",
    "systemd-sysv",
    "tzdata",
)

# What mmdebstrap runs once the packages are installed; $1 is the new root.
CUSTOMIZE = r"""
set -eu
root=$1
chroot "$root" useradd --create-home --uid 1000 --shell /bin/bash luna
mkdir -p "$root/var/lib/systemd/linger"
touch "$root/var/lib/systemd/linger/luna"

# A persistent journal that users may read their own part of, and that drops nothing.
mkdir -p "$root/var/log/journal" "$root/etc/systemd/journald.conf.d"
cat >"$root/etc/systemd/journald.conf.d/machine.conf" <<CONF
[Journal]
Storage=persistent
RateLimitIntervalSec=0
RateLimitBurst=0
SystemMaxUse=1G
CONF

ln -sf /usr/share/zoneinfo/Etc/UTC "$root/etc/localtime"
echo Etc/UTC >"$root/etc/timezone"
echo LANG=C.UTF-8 >"$root/etc/default/locale"
echo "127.0.0.1 localhost" >"$root/etc/hosts"
: >"$root/etc/fstab"
: >"$root/etc/machine-id"

for unit in apt-daily.timer apt-daily-upgrade.timer console-getty.service \
    container-getty@.service dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer getty@.service getty.target \
    systemd-networkd-wait-online.service systemd-networkd.service systemd-pstore.service \
    systemd-resolved.service systemd-timesyncd.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
"""

# Before that, where packages are to be installed later, without network: apt finds their archives
# in its cache. Documentation is installed there as on any machine.
KEEP_ARCHIVES = r"""
set -e
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --quiet --yes --install-recommends --download-only \
    install {}
rm -f "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
"""

# PID 1's first act, needed on a host with cgroup v1 and without effect on cgroup v2.
# nspawn mounts the controllers read-only, and systemd would then ignore MemoryMax= and
# CPUQuota=. Doing it before systemd starts, and not with a daemon-reexec afterwards, serves every
# boot of the machine alike. And in a container nobody tells systemd that a cgroup became empty:
# the stop of a user manager waits for the whole of its timeout, 2 minutes, for (sd-pam), and now
# and then the stop of a job, or its launcher, for its main process, a zombie that v1 still counts.
INIT = """\
#!/bin/sh
for controller in memory cpu cpuacct cpu,cpuacct pids blkio; do
    if [ -d "/sys/fs/cgroup/$controller" ] && [ ! -L "/sys/fs/cgroup/$controller" ]; then
        mount -o remount,rw,bind "/sys/fs/cgroup/$controller"
    fi
done
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
    for unit in system/user@ system/lunasched-job@ user/lunasched-job@ \\
        system/lunasched-hook@ user/lunasched-hook@ system/lunasched-launch@ \\
        user/lunasched-launch@; do
        mkdir -p "/run/systemd/$unit.service.d"
        printf '[Service]\\nTimeoutStopSec=500ms\\n' >"/run/systemd/$unit.service.d/cgroup-v1.conf"
    done
fi
exec /lib/systemd/systemd
"""
INIT_PATH = "/usr/local/sbin/machine-init"

# As a console script that pip writes, with the byte code kept out of the read-only source tree.
WRAPPER = f"""\
#!/usr/bin/python3
import sys
sys.pycache_prefix = "{bytecode.PREFIX}"
sys.path.insert(0, "{bytecode.TREE}")
from {{module}} import {{function}}
sys.exit({{function}}())
"""
WRAPPERS = {
    name: WRAPPER.format(module=module, function=function)
    for name, module, function in (
        ("lunasched", "lunasched.cli", "program"),
        ("lunasched-daemon", "lunasched.supervisor", "main"),
    )
}
"""The programs, by their names, as pyproject.toml has them."""

V1_CONTROLLERS = ("systemd", "memory", "cpu", "cpuacct", "cpu,cpuacct", "pids", "blkio", "unified")

# Taken from a command that enters the container from the host, with the host's privileges.
DROPPED_CAPABILITIES = "-sys_time,-sys_module,-sys_rawio,-wake_alarm,-syslog,-mac_admin"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command: list[str] = []
    if "--" in arguments:
        split = arguments.index("--")
        arguments, command = arguments[:split], arguments[split + 1 :]
    parser = argparse.ArgumentParser(prog="machine.py", description="throw-away test machines")
    parser.add_argument("--suite", default="bookworm", help="Debian suite (default: bookworm)")
    parser.add_argument("--user", help="user to run the command as (default: root)")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("image", help="make the image, print its path")
    actions.add_parser("list", help="list the machines that are up")
    actions.add_parser("clean", help="take down what killed processes left")
    for name, text in (
        ("up", "boot a machine and leave it up"),
        ("down", "take a machine down"),
        ("reboot", "reboot a machine"),
        ("run", "run a command (after --) in a machine, or in a fresh one"),
        ("shell", "the same with an interactive shell"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("name", nargs="?" if name in ("run", "shell") else None)
    options = parser.parse_args(arguments)
    try:
        return _act(options, command)
    except MachineError as error:
        print(f"machine: {error}", file=sys.stderr)
        return 1


def _act(options: argparse.Namespace, command: list[str]) -> int:
    name: str | None = getattr(options, "name", None)
    match options.action:
        case "image":
            print(image(options.suite))
        case "list":
            for each in sorted(STATE_ROOT.glob("*/state.json")):
                print(each.parent.name)
        case "clean":
            remove_leftovers()
        case "up":
            Machine.boot(name, suite=options.suite, keep=True, exact_name=True)
        case "down":
            Machine.attach(str(name)).down()
        case "reboot":
            Machine.attach(str(name)).reboot()
        case "run" | "shell":
            if name:
                return Machine.attach(name).interactive(command, user=options.user)
            with Machine.boot(suite=options.suite) as machine:
                return machine.interactive(command, user=options.user)
    return 0


# The image


def image(
    suite: str = "bookworm", extra_packages: Sequence[str] = (), available: Sequence[str] = ()
) -> Path:
    """Return the root directory of the cached image, after making it if there is none.

    The `available` packages are not installed, but apt can do so without network. Two processes
    may call this at once, and either may be killed: the image appears under its name, complete,
    by a rename.
    """
    require_host()
    packages = sorted({*PACKAGES, *extra_packages} - set(available))
    recipe = "\0".join([suite, *packages, CUSTOMIZE])
    if available:
        recipe = "\0".join([recipe, *sorted(available), KEEP_ARCHIVES])
    key = f"machine-{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    cache = cache_directory()
    root = cache / key
    if root.is_dir():
        return root
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{key}.lock") as lock:
        if root.is_dir():  # another process made it while this one waited
            return root
        partial = cache / f"{key}.partial"
        remove_tree(partial)
        print(f"machine: making the {suite} image, once, about 40 s", file=sys.stderr)
        mmdebstrap(suite, packages, partial, lock, available=available)
        partial.rename(root)
    return root


def cache_directory() -> Path:
    """Where images are kept, outside the tree."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lunasched"


def mmdebstrap(
    suite: str,
    packages: Sequence[str],
    target: Path,
    lock: int,
    *,
    variant: str = "minbase",
    available: Sequence[str] = (),
) -> None:
    """Make a Debian root of the packages and what they need, for as long as `lock` is held.

    The variant ``extract`` only unpacks them: no script of a package runs, nor `CUSTOMIZE`. The
    archives of what is `available` are kept, and apt's lists with them.
    """
    with tempfile.TemporaryDirectory(prefix="lunasched-image-") as scratch:
        hook = Path(scratch, "customize")
        script = KEEP_ARCHIVES.format(shlex.join(available)) if available else ""
        hook.write_text("#!/bin/sh" + script + CUSTOMIZE)
        hook.chmod(0o755)
        done = subprocess.run(
            [
                # Its mounts of /proc, /sys and /dev go with it, however it ends.
                *("unshare", "--mount", "--propagation=private", "--"),
                "mmdebstrap",
                "--mode=root",
                f"--variant={variant}",
                "--include=" + ",".join(packages),
                "--dpkgopt=force-unsafe-io",
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*",
                # A mirror may be weeks old, and its release files no longer valid.
                '--aptopt=Acquire::Check-Valid-Until "false"',
                *(f"--aptopt={option}" for option in _apt_options_ofhost_command()),
                *([] if variant == "extract" else [f"--customize-hook={hook}"]),
                *(["--skip=cleanup/apt"] if available else []),
                suite,
                str(target),
                *_mirrors_ofhost_command(suite),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            pass_fds=[lock],  # if only this process is killed, the next one waits for the rest
        )
    if done.returncode != 0:
        remove_tree(target)
        raise MachineError(f"mmdebstrap failed:\n{done.stdout[-4000:]}")


def _apt_options_ofhost_command() -> list[str]:
    """The host's apt proxy and certificate settings, which mmdebstrap does not take over."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    wanted = ("proxy", "verify-", "cainfo", "capath", "retries", "timeout")
    return [
        line.strip()
        for line in dump.stdout.splitlines()
        if line.startswith("Acquire::")
        and any(word in line.split(" ")[0].lower() for word in wanted)
        and not line.endswith('"";')
    ]


def _mirrors_ofhost_command(suite: str) -> list[str]:
    """Debian's archives where the host gets them from; none if that is not known.

    Without any, mmdebstrap has a good default. Third-party sources are left out.
    """
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    uris: dict[str, str] = {}
    for line in targets.stdout.splitlines():
        label, _, uri = line.partition("|")
        uris.setdefault(label, uri)
    if "Debian" not in uris:
        return []
    lines = [f"deb {uris['Debian']} {suite} main"]
    if "Debian-Security" in uris and suite != UNSTABLE:  # which gets fixes as any other change
        lines.append(f"deb {uris['Debian-Security']} {suite}-security main")
    return lines


# The machine


@dataclass(slots=True)
class _State:
    """What is needed to take a machine down without the process that made it."""

    boot_id: str
    owner: ProcessId | None
    """Whose end makes the machine a leftover; None: it stays until it is taken down."""
    binds: list[tuple[str, str, bool]]
    image: str
    nspawn: ProcessId | None = None

    def save(self, directory: Path) -> None:
        partial = directory / "state.json.partial"
        partial.write_text(json.dumps(asdict(self)))
        partial.rename(directory / "state.json")

    @classmethod
    def load(cls, directory: Path) -> _State:
        raw = json.loads((directory / "state.json").read_text())
        for key in ("owner", "nspawn"):
            raw[key] = ProcessId(**raw[key]) if raw[key] else None
        raw["binds"] = [(source, target, bool(rw)) for source, target, rw in raw["binds"]]
        return cls(**raw)


class Machine(AnyMachine):
    """A booted container. Make one with `boot`, or `attach` to one that is up."""

    def __init__(self, name: str, state: _State) -> None:
        super().__init__(name, STATE_ROOT / name)
        self.root = self.directory / "root"
        """The root file system as the host sees it, without what is mounted inside."""
        self._state = state
        self._leader: ProcessId | None = None

    @classmethod
    def boot(
        cls,
        name_prefix: str | None = None,
        *,
        suite: str = "bookworm",
        extra_packages: Sequence[str] = (),
        available: Sequence[str] = (),
        binds: Sequence[tuple[Path, str]] = (),
        writable_binds: Sequence[tuple[Path, str]] = (),
        disk: str = "4G",
        keep: bool = False,
        exact_name: bool = False,
    ) -> Machine:
        """Make a machine with a name of its own and wait until it is up.

        The repository is at /opt/lunasched (read-only), its commands in /usr/local/bin; not so
        where packages are only `available`, see `image`.
        `binds` are (host path, path inside). `disk` is the most that the overlay can hold.
        With `keep` the machine outlives this process.
        """
        root = image(suite, extra_packages, available)
        remove_leftovers()
        name = name_prefix or "luna"
        if not exact_name:
            name = f"{name}-{secrets.token_hex(3)}"
        all_binds = [] if available else [(str(REPOSITORY), bytecode.TREE, False)]
        all_binds += [(str(source), target, False) for source, target in binds]
        all_binds += [(str(source), target, True) for source, target in writable_binds]
        owner = None if keep else ProcessId.of(os.getpid())
        machine = cls(name, _State(host_boot_id(), owner, all_binds, str(root)))
        with locked(STATE_ROOT / ".lock"):
            try:
                machine.directory.mkdir()
            except FileExistsError:
                raise MachineError(f"a machine named {name} exists already") from None
            machine._state.save(machine.directory)
        atexit.register(machine._down_at_exit)
        try:
            machine._make_root(disk, {} if available else WRAPPERS)
            machine.start()
        except BaseException:
            machine.down()
            raise
        return machine

    @classmethod
    def attach(cls, name: str) -> Machine:
        """Return the machine of that name, which another process brought up."""
        try:
            machine = cls(name, _State.load(STATE_ROOT / name))
        except OSError:
            raise MachineError(f"no machine is named {name}; see: machine.py list") from None
        if machine.is_up():
            machine._leader = machine._find_leader()
        return machine

    # Up and down

    def is_up(self) -> bool:
        """Whether the container runs, booted or still booting."""
        return self._state.nspawn is not None and self._state.nspawn.is_alive()

    def start(self) -> None:
        """Boot, on the files that are there, and wait until the boot is complete."""
        if self.is_up():
            raise MachineError(f"{self.name} is up already")
        for cgroup in cgroups_of(self.name):
            cgroup.mkdir(exist_ok=True)
        with (self.directory / "console.log").open("ab") as console:
            process = subprocess.Popen(
                self._nspawn_command(),
                env={**os.environ, **_nspawn_environment(self._state.image)},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # Ctrl-C on the tests is not for the container
            )
        reap_later(process)
        self._state.nspawn = ProcessId.of(process.pid)
        self._state.save(self.directory)
        self._leader = self._find_leader()
        self._wait_until_booted()

    def kill(self) -> None:
        """Stop every process at once, as a power cut would. The files stay; see `start`.

        Not lost, unlike at a real power cut: what was written and not yet synced.
        """
        leader, nspawn = self._leader, self._state.nspawn
        self._leader = None
        for process in (leader, nspawn):
            if process and process.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        if nspawn:
            wait_for_end(nspawn, 10)
        _remove_cgroups(self.name)

    def reboot(self, timeout: float = 60) -> None:
        """Shut down in order and boot again, on the same files."""
        nspawn = self._state.nspawn
        if nspawn is None:
            raise MachineError(f"{self.name} is not up")
        self.exec(["systemctl", "reboot"], check=False)
        # With --keep-unit, nspawn ends on a reboot and leaves the restart to us.
        if not wait_for_end(nspawn, timeout * PATIENCE):
            raise MachineError(
                f"{self.name} did not shut down in {timeout * PATIENCE:.0f} s{self._console()}"
            )
        self.kill()
        self.start()

    def down(self) -> None:
        """Take the machine down and remove everything of it. Does no harm if repeated."""
        atexit.unregister(self._down_at_exit)
        self.kill()
        _remove_directory(self.directory)

    def _down_at_exit(self) -> None:
        if self._state.owner and self._state.owner.pid == os.getpid():
            self.down()

    def _make_root(self, disk: str, wrappers: Mapping[str, str]) -> None:
        overlay = self.directory / "overlay"
        for directory in (overlay, self.root):
            directory.mkdir()
        host_command(
            "mount", "-t", "tmpfs", "-o", f"size={disk},mode=0755", "lunasched", str(overlay)
        )
        for directory in (overlay / "upper", overlay / "work"):
            directory.mkdir()
        lower = self._state.image
        if wrappers:
            lower = f"{bytecode.layer(Path(lower), REPOSITORY, cache_directory())}:{lower}"
        options = f"lowerdir={lower},upperdir={overlay}/upper,workdir={overlay}/work"
        host_command("mount", "-t", "overlay", "-o", options, "lunasched", str(self.root))
        self._put("/etc/machine-id", uuid.uuid4().hex + "\n", 0o444)
        self._put("/etc/hostname", self.name + "\n", 0o644)
        self._put(INIT_PATH, INIT, 0o755)
        for name, text in wrappers.items():
            self._put(f"/usr/local/bin/{name}", text, 0o755)

    def _put(self, path: str, text: str, mode: int) -> None:
        """Write a file of the machine before it is booted."""
        target = self.root / path.lstrip("/")
        target.unlink(missing_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def _nspawn_command(self) -> list[str]:
        binds = [
            f"--bind{'' if writable else '-ro'}={_bind_path(source)}:{_bind_path(target)}"
            for source, target, writable in self._state.binds
        ]
        nspawn = [
            "systemd-nspawn",
            "--quiet",
            f"--machine={self.name}",
            f"--directory={self.root}",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--console=pipe",
            "--kill-signal=SIGRTMIN+3",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            *binds,
            INIT_PATH,
        ]
        # It joins its own cgroups first: two machines that share one would share units' limits.
        joins = "".join(
            f"echo $$ >{shlex.quote(str(cgroup))}/cgroup.procs; "
            for cgroup in cgroups_of(self.name)
        )
        return ["/bin/sh", "-ec", joins + "exec " + shlex.join(nspawn)]

    def _find_leader(self, timeout: float = 20) -> ProcessId:
        """The container's PID 1, once it is systemd: before that it is a stub of nspawn."""
        assert self._state.nspawn
        end = time.monotonic() + timeout * PATIENCE
        while time.monotonic() < end and self._state.nspawn.is_alive():
            for pid in _descendants(self._state.nspawn.pid):
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                        leader = ProcessId.of(pid)
                        if leader:
                            return leader
            time.sleep(0.005)
        raise MachineError(f"{self.name} did not start{self._console()}")

    def _wait_until_booted(self, timeout: float = 60) -> None:
        end = time.monotonic() + timeout * PATIENCE
        socket = Path(f"/proc/{self._pid()}/root/run/systemd/private")
        while not socket.exists():
            if time.monotonic() > end or not self.is_up():
                raise MachineError(f"{self.name} did not boot{self._console()}")
            time.sleep(0.005)
        state = self.exec(["systemctl", "is-system-running", "--wait"], check=False)
        if state.stdout.strip() not in ("running", "degraded"):
            raise MachineError(f"{self.name} is {state.stdout.strip()!r}{self._console()}")
        # logind starts the lingering user's manager beside the boot, not as a part of it.
        self.exec(["systemctl", "start", "user@1000.service"])

    def _console(self) -> str:
        with contextlib.suppress(OSError):
            tail = (self.directory / "console.log").read_text(errors="replace")[-3000:]
            return f"; its console:\n{tail}"
        return ""

    def _pid(self) -> int:
        if self._leader is None or not self._leader.is_alive():
            raise MachineError(f"{self.name} is not up")
        return self._leader.pid

    # Files

    def written(self, *paths: str) -> str:
        """Return a text that is another one once one of the files was written, or made anew."""
        found = []
        for path in paths:
            with contextlib.suppress(OSError):
                # No process is needed for it, and tests look all the time.
                status = Path(f"/proc/{self._pid()}/root{path}").stat()
                found.append(f"{status.st_ino} {status.st_size} {status.st_mtime_ns}")
        return "\n".join(found)

    # Commands

    def popen(
        self,
        command: Sequence[str] | str,
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command as `run` does and return at once; its pipes are the process's.

        Killing what is returned does not kill the unit.
        """
        return subprocess.Popen(
            [*self._enter(), *as_unit(user, env), *unexpanded(command_line(command))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def interactive(self, command: Sequence[str], *, user: str | None = None) -> int:
        """Run a command, or a login shell, on this process's terminal; returns its exit code."""
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        argv = [*self._enter(), *as_unit(user, None, terminal=terminal)]
        argv += unexpanded(command or ["/bin/bash", "-l"])
        return subprocess.run(argv, check=False).returncode

    def _process(
        self, argv: Sequence[str], caller: Caller | None, data: bytes | None, timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self._enter(), *([] if caller is None else _as_process(*caller)), *argv],
            input=b"" if data is None else data,
            capture_output=True,
            timeout=timeout * PATIENCE,
            check=False,
        )

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self._pid()}", "--all", "--"]

    def knows_oom_kills(self) -> bool:
        """Tell whether its systemd learns of the kernel's kills, from the files of cgroup v2."""
        return is_cgroup_v2()


def remove_leftovers() -> None:
    """Take down the machines whose owner is gone."""
    STATE_ROOT.mkdir(mode=0o755, exist_ok=True)
    with locked(STATE_ROOT / ".lock"):
        for directory in [each for each in STATE_ROOT.iterdir() if each.is_dir()]:
            try:
                state = _State.load(directory)
            except (OSError, ValueError, TypeError, KeyError):
                _remove_directory(directory)
                continue
            if state.boot_id == host_boot_id() and (state.owner is None or state.owner.is_alive()):
                continue
            machine = Machine(directory.name, state)
            if machine.is_up():
                for pid in _descendants(state.nspawn.pid if state.nspawn else 0):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            machine.kill()
            _remove_directory(directory)


# Command lines


def _as_process(user: str | None, env: Mapping[str, str] | None) -> list[str]:
    argv = ["setpriv", f"--bounding-set={DROPPED_CAPABILITIES}"]
    if user:
        argv += [f"--reuid={user}", f"--regid={user}", "--init-groups"]
    variables = [f"{key}={value}" for key, value in environment_of(user, env).items()]
    directory = [f"--chdir=/home/{USER}"] if user == USER else []
    return [*argv, "--", "env", "-i", *directory, *variables]


def _bind_path(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")


# The host


def require_host() -> None:
    if os.geteuid() != 0:
        raise MachineError("a test machine is a container, which only root can boot; use sudo")
    missing = [tool for tool in HOST_TOOLS if shutil.which(tool) is None]
    if missing:
        raise MachineError(
            f"{', '.join(missing)} not found; "
            "run: apt-get install mmdebstrap systemd-container debian-archive-keyring"
        )


def is_cgroup_v2() -> bool:
    """Whether the host has the unified hierarchy alone; the machine then has it too."""
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def _nspawn_environment(image: str) -> dict[str, str]:
    # The newest systemd knows no other hierarchy. On a host with v1 it has no controller in it,
    # so that no limit holds, and all else is as on any machine.
    unified = is_cgroup_v2() or Path(image).name.startswith(f"machine-{UNSTABLE}-")
    return {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1" if unified else "0"}


def cgroups_of(name: str) -> list[Path]:
    """The cgroups of a machine, one in each hierarchy."""
    top = Path("/sys/fs/cgroup")
    if is_cgroup_v2():
        return [top / f"lunasched-{name}"]
    hierarchies = {(top / each).resolve() for each in V1_CONTROLLERS if (top / each).is_dir()}
    return [each / f"lunasched-{name}" for each in sorted(hierarchies)]


def _remove_cgroups(name: str) -> None:
    """Kill what is left in a machine's cgroups, and remove them."""
    for top in cgroups_of(name):
        for _ in range(200):
            directories = [Path(each) for each, _, _ in os.walk(top, topdown=False)]
            for directory in directories:
                with contextlib.suppress(OSError):
                    for pid in (directory / "cgroup.procs").read_text().split():
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(int(pid), signal.SIGKILL)
                with contextlib.suppress(OSError):  # busy until the killed are gone
                    directory.rmdir()
            if not top.exists():
                break
            time.sleep(0.01)


def _remove_directory(directory: Path) -> None:
    """Unmount what is below a machine's directory, deepest first, and remove it."""
    mounts = [
        line.split()[4].encode().decode("unicode_escape")
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    for mount in reversed(mounts):
        if mount.startswith(f"{directory}/"):
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
    remove_tree(directory)


def _descendants(pid: int) -> list[int]:
    """The processes below `pid`, nearest first; none if it is gone."""
    found: list[int] = []
    pending = [pid]
    while pending:
        children: list[int] = []
        for parent in pending:
            # It may be gone, also while its threads are listed.
            with contextlib.suppress(OSError):
                for listing in Path(f"/proc/{parent}/task").glob("*/children"):
                    with contextlib.suppress(OSError):
                        children += [int(child) for child in listing.read_text().split()]
        found += children
        pending = children
    return found


if __name__ == "__main__":
    sys.exit(main())

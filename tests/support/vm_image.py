"""What a virtual machine boots from: a disk, a kernel, and an initial RAM disk of our own.

The disk is the root of the container machines (`machine.image`) as an ext4 file system; the
kernel is Debian's smallest. There is no boot loader, no udev and no initramfs-tools: under
software emulation each of them costs seconds. Everything that belongs to one boot of one
machine, such as the source tree, is appended to the initial RAM disk, which is a plain
concatenation of cpio archives (Documentation/driver-api/early-userspace/buffer-format.rst).

Standard library only, as `machine`.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import bytecode
import machine
from anymachine import MachineError, locked, remove_tree
from machine import REPOSITORY, WRAPPERS, cache_directory, mmdebstrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILES = Path(__file__).with_name("vm_files")
PACKAGES = ("busybox-static", "linux-image-cloud-amd64")
MODULES = ("virtio_pci", "virtio_blk", "virtio_console")
"""What is not built in and needed; what these need comes with them."""
DISK_SIZE = "4G"
LEFT_OUT = {".git", ".venv", "__pycache__", "build", "dist", "node_modules"}
"""Directories of the tree that no machine sees, besides those named ``.*_cache``."""


AGENT_UNIT = """\
[Unit]
Description=Agent of the host of this test machine
DefaultDependencies=no

[Service]
ExecStart=/usr/bin/python3 -I /usr/local/lib/lunasched-vm-agent.py
KillMode=process
OOMScoreAdjust=-1000
StandardOutput=journal+console
"""
# Besides those of the container's image: they cost boot time, fail without what is not there
# (kernel modules, udev), or would run as soon as the clock is set forward.
MASKED = (
    "dev-hugepages.mount",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "proc-sys-fs-binfmt_misc.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-modules-load.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-update-utmp-runlevel.service",
)


@dataclass(frozen=True, slots=True)
class Image:
    """The files that every virtual machine of a suite starts from; none is ever written to."""

    root: Path
    """The root of the containers of the suite, which the disk is a copy of."""
    disk: Path
    kernel: Path
    initrd: Path


def image(suite: str = "bookworm") -> Image:
    """Return the cached image, after making it if there is none.

    Like `machine.image`, it appears complete by a rename, however many processes ask for it.
    """
    root = machine.image(suite)
    recipe = "\0".join([root.name, *PACKAGES, *MODULES, DISK_SIZE])
    key = f"vm-{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    cache = cache_directory()
    directory = cache / key
    if not directory.is_dir():
        with locked(cache / f"{key}.lock") as lock:
            if not directory.is_dir():  # another process may have made it meanwhile
                print(f"vm: making the {suite} image, once, about 15 s", file=sys.stderr)
                partial = cache / f"{key}.partial"
                remove_tree(partial)
                partial.mkdir()
                _make(suite, root, partial, lock)
                partial.rename(directory)
    return Image(root, directory / "disk", directory / "kernel", directory / "initrd")


def _make(suite: str, root: Path, target: Path, lock: int) -> None:
    unpacked = target / "unpacked"
    mmdebstrap(suite, PACKAGES, unpacked, lock, variant="extract")
    _kernel(unpacked).rename(target / "kernel")
    (target / "initrd").write_bytes(cpio(_initrd_entries(unpacked)))
    remove_tree(unpacked)
    # With -d, mke2fs fills the file system from the directory: nothing has to be mounted.
    _call("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(target / "disk"), DISK_SIZE)


def _kernel(unpacked: Path) -> Path:
    """The kernel, which packages since Debian 14 keep beside its modules."""
    (found,) = [*unpacked.glob("boot/vmlinuz-*"), *unpacked.glob("usr/lib/modules/*/vmlinuz")]
    return found


def _initrd_entries(unpacked: Path) -> Iterator[Entry]:
    yield Entry.directory("bin")
    busybox = next(unpacked.glob("**/bin/busybox"))
    yield Entry.file("bin/busybox", busybox.read_bytes(), 0o755)
    yield Entry.symlink("bin/sh", "busybox")
    yield Entry.directory("modules")
    modules = dict(_modules(unpacked))
    for name, data in modules.items():
        yield Entry.file(f"modules/{name}", data)
    yield Entry.file("modules.list", "\n".join(modules).encode())


def _modules(unpacked: Path) -> Iterator[tuple[str, bytes]]:
    """`MODULES` and their dependencies as (file name, content), in the order to load them."""
    available = {
        path.name.partition(".")[0].replace("-", "_"): path
        for path in unpacked.glob("**/lib/modules/**/*.ko*")
    }
    done: set[str] = set()

    def load(name: str) -> Iterator[tuple[str, bytes]]:
        if name in done or name not in available:  # not there: built in
            return
        done.add(name)
        data = available[name].read_bytes()
        if available[name].suffix == ".xz":
            data = lzma.decompress(data)
        # The module says what it needs; modules.dep is made by scripts that did not run.
        needed = re.search(rb"\0depends=([^\0]*)\0", data)
        for each in needed[1].decode().split(",") if needed else []:
            yield from load(each.replace("-", "_"))
        yield f"{name}.ko", data

    for name in MODULES:
        yield from load(name)


def boot_initrd(image: Image, name: str, machine_id: str) -> bytes:
    """Return the initial RAM disk of one boot: the image's, the source tree as it is, our files."""
    entries = [
        Entry.file("init", (FILES / "init").read_bytes(), 0o755),
        *_tree_entries(REPOSITORY, "tree"),
        *_with_directories(_files(name, machine_id)),
        *_tree_entries(bytecode.layer(image.root, REPOSITORY, cache_directory()), "files"),
    ]
    return image.initrd.read_bytes() + cpio(entries)


def _files(name: str, machine_id: str) -> Iterator[Entry]:
    """What is written to the disk at each boot, below ``files``."""
    yield Entry.file("files/etc/machine-id", f"{machine_id}\n".encode(), 0o444)
    yield Entry.file("files/etc/hostname", f"{name}\n".encode())
    agent = "lunasched-vm-agent"
    yield Entry.file(f"files/usr/local/lib/{agent}.py", (FILES / "agent.py").read_bytes())
    yield Entry.file(f"files/etc/systemd/system/{agent}.service", AGENT_UNIT.encode())
    wants = "files/etc/systemd/system/sysinit.target.wants"
    yield Entry.symlink(f"{wants}/{agent}.service", f"../{agent}.service")
    for unit in MASKED:
        yield Entry.symlink(f"files/etc/systemd/system/{unit}", "/dev/null")
    for command, text in WRAPPERS.items():
        yield Entry.file(f"files/usr/local/bin/{command}", text.encode(), 0o755)


def _tree_entries(source: Path, target: str) -> Iterator[Entry]:
    """The files of a source tree, below the path `target`, without what is not source."""
    for top, directories, files in os.walk(source):
        directories[:] = [
            each for each in directories if each not in LEFT_OUT and not each.endswith("_cache")
        ]
        below = Path(target, Path(top).relative_to(source))
        yield Entry.directory(str(below), stat.S_IMODE(Path(top).stat().st_mode))
        for name in files:
            path = Path(top, name)
            try:
                information = path.lstat()
                if stat.S_ISLNK(information.st_mode):
                    yield Entry.symlink(str(below / name), str(path.readlink()))
                elif stat.S_ISREG(information.st_mode):
                    mode = 0o755 if information.st_mode & 0o100 else 0o644
                    at = int(information.st_mtime)
                    yield Entry.file(str(below / name), path.read_bytes(), mode, at)
            except FileNotFoundError:
                continue  # a file that an editor had beside another


def _with_directories(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries, each after the directories that it is in."""
    made: set[str] = set()
    for entry in entries:
        for parent in reversed(Path(entry.path).parents):
            if str(parent) not in made | {"."}:
                made.add(str(parent))
                yield Entry.directory(str(parent))
        yield entry


@dataclass(frozen=True, slots=True)
class Entry:
    """A member of a cpio archive; it belongs to root."""

    path: str
    mode: int
    data: bytes = b""
    mtime: int = 0

    @classmethod
    def directory(cls, path: str, mode: int = 0o755) -> Entry:
        return cls(path, stat.S_IFDIR | mode)

    @classmethod
    def file(cls, path: str, data: bytes, mode: int = 0o644, mtime: int = 0) -> Entry:
        return cls(path, stat.S_IFREG | mode, data, mtime)

    @classmethod
    def symlink(cls, path: str, target: str) -> Entry:
        return cls(path, stat.S_IFLNK | 0o777, target.encode())


def cpio(entries: Iterable[Entry]) -> bytes:
    """Return a "newc" archive, padded so that another may follow it."""
    archive = bytearray()
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.path.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        # inode, mode, uid, gid, links, mtime, size, device and rdevice twice, name size, check
        size, mtime = len(entry.data), entry.mtime
        fields = (number, entry.mode, 0, 0, links, mtime, size, 0, 0, 0, 0, len(name), 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        archive += bytes(-len(archive) % 4)
        archive += entry.data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def _call(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MachineError(f"{argv[0]}: {done.stderr.strip()}")

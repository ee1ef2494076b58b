"""The database of jobs as root writes it and the supervisor reads it, and nobody holds up whom."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import job

from lunasched.errors import PermissionDenied, StoreError
from lunasched.jobs.origin import JobOrigin
from lunasched.store import DEFINITIONS, Definitions, DefinitionsReader, check_directory

NOBODY = 65534
KILLED = """
import os, sys
from pathlib import Path
from lunasched.jobs.model import Job
from lunasched.store import Definitions
found = Definitions.open(Path(sys.argv[1]), group=65534)
found.connection.execute("PRAGMA cache_size=1")
with found.transaction():
    for number in range(200):
        job = Job(name=f"half-{number}", schedule="every 1h", command="x" * 2000)
        found.jobs.put(job, 1)
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def path() -> Iterator[Path]:
    """In a directory that other users can look into."""
    with tempfile.TemporaryDirectory(prefix="lunasched-test-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory, "jobs.db")


@pytest.fixture
def definitions(path: Path) -> Iterator[Definitions]:
    opened = Definitions.open(path, group=NOBODY)
    yield opened
    opened.close()


def put(definitions: Definitions, name: str) -> None:
    with definitions.transaction():
        definitions.jobs.put(job(name=name), 1)


def test_a_database_from_before_jobs_had_origins(path: Path) -> None:
    old = sqlite3.connect(path)
    DEFINITIONS.upgrade(old, 0, to=1)
    old.execute("INSERT INTO jobs VALUES ('a', ?, 1, 2)", [json.dumps(job(name="a").to_mapping())])
    old.commit()
    old.close()
    reader = DefinitionsReader(path)
    with pytest.raises(StoreError, match="lunasched sync brings it up to date"):
        reader.jobs.names()
    definitions = Definitions.open(path, group=NOBODY)
    assert (definitions.jobs.all(), definitions.jobs.origins()) == ([job(name="a")], {})
    assert definitions.version() == DEFINITIONS.version
    definitions.close()


@pytest.mark.parametrize("version", [2, 3])
def test_a_database_from_before_origins_had_variables(version: int, path: Path) -> None:
    old = sqlite3.connect(path)
    DEFINITIONS.upgrade(old, 0, to=version)
    old.execute("INSERT INTO jobs VALUES ('a', ?, 1, 2)", [json.dumps(job(name="a").to_mapping())])
    old.execute("INSERT INTO origins VALUES ('a', '/etc/crontab', 7, '@daily root x')")
    old.commit()
    old.close()
    definitions = Definitions.open(path, group=NOBODY)
    assert definitions.jobs.origins() == {"a": JobOrigin("/etc/crontab", 7, "@daily root x")}
    inherited = JobOrigin("/etc/crontab", 7, "@daily root x", ("LANG", "http_proxy"))
    with definitions.transaction():
        definitions.jobs.put_origin("a", inherited)
    definitions.close()
    assert DefinitionsReader(path).jobs.origins() == {"a": inherited}


def test_a_reader_sees_jobs_from_before_there_is_a_file(path: Path) -> None:
    reader = DefinitionsReader(path)
    assert reader.jobs.names() == []
    assert not path.exists()
    definitions = Definitions.open(path)
    put(definitions, "a")
    assert reader.jobs.names() == ["a"]
    definitions.close()
    path.unlink()
    assert reader.jobs.names() == []
    reader.close()


def test_a_reader_cannot_change_a_job(path: Path, definitions: Definitions) -> None:
    reader = DefinitionsReader(path)
    with pytest.raises(StoreError):
        reader.jobs.put(job(), 1)
    assert definitions.jobs.names() == []
    reader.close()


def held(path: Path, start: int, length: int) -> int:
    """Lock bytes of a file as somebody who may only read it; the process that does."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.lockf(descriptor, fcntl.LOCK_SH, length, start)
        os.write(tell, b".")
        signal.pause()
        os._exit(0)
    assert os.read(ready, 1) == b"."
    return child


@pytest.mark.skipif(os.getuid() != 0, reason="needs two users")
@pytest.mark.parametrize(
    ("start", "length"),
    [
        pytest.param(0x40000002, 510, id="as a reader"),
        pytest.param(0x40000000, 1, id="the byte of who waits"),
        pytest.param(0x40000001, 1, id="the byte of who will write"),
        pytest.param(0, 0, id="all of it"),
    ],
)
def test_a_lock_of_a_reader_that_never_ends_holds_up_no_change(
    path: Path, definitions: Definitions, start: int, length: int
) -> None:
    put(definitions, "before")
    reader = DefinitionsReader(path)
    assert reader.jobs.names() == ["before"]
    child = held(path, start, length)
    try:
        put(definitions, "meanwhile")
        with pytest.raises(ZeroDivisionError), definitions.transaction():
            definitions.jobs.put(job(name="not"), 1)
            raise ZeroDivisionError
        put(definitions, "again")
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, NOBODY, 0o640)
        assert definitions.jobs.names() == ["again", "before", "meanwhile"]
        # The file is another one now.
        assert reader.jobs.names() == ["again", "before", "meanwhile"]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    reader.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_a_killed_change_left_is_taken_back(path: Path, definitions: Definitions) -> None:
    put(definitions, "before")
    definitions.close()
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.with_name("jobs.db-journal").exists()

    def settle() -> None:
        Definitions.open(path).close()

    def as_nobody(reader: DefinitionsReader) -> int:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                reader.jobs.names()
            except StoreError as error:
                status = 3 if "lunasched sync" in str(error) else 1
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    if os.getuid() == 0:
        # Who may not write cannot take it back, and says who can.
        assert as_nobody(DefinitionsReader(path)) == 3
    reader = DefinitionsReader(path, settle=settle)
    assert reader.jobs.names() == ["before"]
    reader.close()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_a_directory_of_others_is_no_place_for_roots_jobs(path: Path) -> None:
    check_directory(path.parent)
    below = path.parent / "below"
    below.mkdir()
    for mode, owner in ((0o775, 0), (0o757, 0), (0o755, NOBODY)):
        path.parent.chmod(mode)
        os.chown(path.parent, owner, owner)
        for directory in (path.parent, below):
            with pytest.raises(PermissionDenied, match=str(path.parent)):
                check_directory(directory)
    path.parent.chmod(0o755)
    os.chown(path.parent, 0, 0)
    check_directory(below)


def test_a_database_of_another_kind_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE jobs (name TEXT)")
    other.close()
    with pytest.raises(StoreError, match="not one of lunasched"):
        Definitions.open(path)

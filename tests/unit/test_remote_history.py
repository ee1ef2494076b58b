"""Root's way to the supervisor's history: with the supervisor's rights, and within bounds."""

from __future__ import annotations

import mmap
import os
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lunasched.errors import PermissionDenied, StoreError
from lunasched.history.run import Result, Run, Trigger
from lunasched.store import Definitions, RemoteHistory, Store, remote
from lunasched.store.historydatabase import History

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs two users")

NOBODY = 65534


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lunasched-test-") as top:
        Path(top).chmod(0o755)
        made = Path(top, "history")
        made.mkdir(mode=0o700)
        os.chown(made, NOBODY, NOBODY)
        yield made


@pytest.fixture
def history(directory: Path) -> Iterator[RemoteHistory]:
    opened = RemoteHistory(directory / "history.db", NOBODY, NOBODY)
    yield opened
    opened.close()


@pytest.fixture
def store(history: RemoteHistory) -> Store:
    return Store(Definitions.in_memory(), history)


def run(number: int, **fields: object) -> Run:
    return Run(
        **{  # type: ignore[arg-type]
            "execution_id": f"{number:032x}",
            "job": "backup",
            "unit": "lunasched-job@backup.service",
            "trigger": Trigger.TIMER,
            "scheduled_at": 1,
            "started_at": number,
            **fields,
        }
    )


def test_what_it_writes_is_the_supervisors(store: Store, directory: Path) -> None:
    store.runs.begin(run(1), "b" * 32)
    store.runs.end(run(1).execution_id, Result.SUCCESS, 5)
    store.runs.set_output(run(1).execution_id, "umlauts äöü, a quote ', \x1b and \0")
    (found,) = store.runs.history("backup", None)
    assert (found.result, found.output) == (Result.SUCCESS, "umlauts äöü, a quote ', \x1b and \0")
    assert store.size() > 0
    assert {file.stat().st_uid for file in directory.iterdir()} == {NOBODY}
    assert not store.history.is_recorded()


def test_a_large_process_has_a_child_that_works(store: Store) -> None:
    with mmap.mmap(-1, 4 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
        store.set_cursor("a")
        assert store.cursor() == "a"


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.set_cursor("a")
        raise ZeroDivisionError
    assert store.cursor() is None
    with store.transaction():
        store.set_cursor("b")
    assert store.cursor() == "b"


def test_many_rows_come_in_pieces(store: Store, directory: Path) -> None:
    store.cursor()
    with closing(sqlite3.connect(directory / "history.db")) as other:
        other.executemany(
            'INSERT INTO runs (execution_id, job, unit, boot_id, phase, "trigger", started_at) '
            "VALUES (?, 'backup', 'u', 'b', 'running', 'timer', 1)",
            [(f"{number:032x}",) for number in range(1501)],
        )
        other.commit()
    assert len(store.runs.history(None, None)) == 1501


def test_an_error_of_sqlite_is_told(store: Store) -> None:
    with pytest.raises(StoreError, match=r"CHECK|NOT NULL|datatype"):
        store.execute("set_cursor", cursor=None)
    # And the child goes on.
    store.set_cursor("c")
    assert store.cursor() == "c"


# What a supervisor that was taken over can put there


def view(connection: sqlite3.Connection) -> None:
    connection.executescript(
        "DROP TABLE journal_position; CREATE VIEW journal_position AS "
        "WITH RECURSIVE n (cursor) AS (SELECT 1 UNION ALL SELECT cursor + 1 FROM n) "
        "SELECT cursor FROM n"
    )


def trigger(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TRIGGER t AFTER INSERT ON journal_position BEGIN DELETE FROM runs; END"
    )


def generated(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE journal_position ADD COLUMN x TEXT AS (cursor || cursor)")


@pytest.mark.parametrize("hostile", [view, trigger, generated])
def test_tables_that_are_not_ours_are_refused(
    hostile: Callable[[sqlite3.Connection], None], store: Store, directory: Path
) -> None:
    store.cursor()
    store.history.close()
    with closing(sqlite3.connect(directory / "history.db")) as other:
        hostile(other)
        other.commit()
    again = RemoteHistory(directory / "history.db", NOBODY, NOBODY)
    with pytest.raises(StoreError, match="not those of a history"):
        again.execute("cursor")
    again.close()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link_to_a_secret(path: Path) -> None:
    secret = path.parent.parent / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    path.symlink_to(secret)


def dangling(path: Path) -> None:
    path.symlink_to(path.parent.parent / "made-by-root")


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("plant", [fifo, link_to_a_secret, dangling, folder])
def test_what_is_no_file_of_the_supervisors_is_not_opened(
    plant: Callable[[Path], None], history: RemoteHistory, directory: Path
) -> None:
    plant(directory / "history.db")
    before = {file.name for file in directory.parent.iterdir()}
    with pytest.raises((StoreError, PermissionDenied)):
        history.execute("cursor")
    assert {file.name for file in directory.parent.iterdir()} == before


def test_a_child_that_does_not_answer_is_given_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.cursor()
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.5)
    history = store.history
    assert isinstance(history, RemoteHistory)
    child = history._child
    # As anybody with its user ID could.
    os.kill(child, signal.SIGSTOP)
    with pytest.raises(StoreError, match=r"did not answer within 0 s|did not answer"):
        store.cursor()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    # The next question has a child of its own.
    monkeypatch.undo()
    assert store.cursor() is None


def test_a_child_that_was_killed_is_told_of(store: Store) -> None:
    store.cursor()
    history = store.history
    assert isinstance(history, RemoteHistory)
    os.kill(history._child, signal.SIGKILL)
    with pytest.raises(StoreError, match="could not be read"):
        store.cursor()


def test_the_child_has_no_rights_and_no_files_of_roots(history: RemoteHistory) -> None:
    with tempfile.TemporaryFile() as secret:
        secret.write(b"root's")
        history.execute("cursor")
        status = Path(f"/proc/{history._child}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == [str(NOBODY)] * 4
        assert fields["Gid"].split() == [str(NOBODY)] * 4
        assert fields["Groups"].split() == []
        assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
        opened = Path(f"/proc/{history._child}/fd")
        targets = {file.name: str(file.readlink()) for file in opened.iterdir()}
        assert not [target for target in targets.values() if "deleted" in target]
        assert {targets[name] for name in "012"} == {"/dev/null"}
    # No process of its user may look into it: it was root's, and is not dumpable (prctl(2)).
    assert opened.stat().st_uid == 0


def test_bytes_and_wrong_kinds_are_damage(store: Store, directory: Path) -> None:
    store.set_cursor("c")
    with closing(sqlite3.connect(directory / "history.db")) as other:
        other.execute("PRAGMA writable_schema = 1")
        other.execute(
            "UPDATE journal_position SET cursor = CAST(x'ff00' AS TEXT) WHERE only_row = 1"
        )
        other.commit()
    with pytest.raises(StoreError):
        store.cursor()


def test_an_old_history_with_jobs_is_not_brought_up_to_date(directory: Path) -> None:
    path = directory / "history.db"
    connection = sqlite3.connect(path, isolation_level=None)
    History(connection, path).schema.upgrade(connection, 0, 6)
    connection.close()
    os.chown(path, NOBODY, NOBODY)
    history = RemoteHistory(path, NOBODY, NOBODY)
    with pytest.raises(StoreError, match="lunasched migrate"):
        history.execute("cursor")
    history.close()

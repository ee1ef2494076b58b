"""What ten thousand jobs cost: files that are opened, work that is done once for all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from compiling import SYSTEM
from samples import job

from lunasched import store as store_room
from lunasched.deploy.firstrun import FirstRuns
from lunasched.deploy.loader import Loader
from lunasched.deploy.sync import Reconciler
from lunasched.doctor import unitcheck
from lunasched.formats import unittext
from lunasched.jobs.model import Job
from lunasched.machine.surroundings import Surroundings
from lunasched.paths import Mode, Paths
from lunasched.schedule.timing import forget_zones, timing
from lunasched.state.slotfile import SlotDirectory
from lunasched.state.unitdir import UnitDirectory
from lunasched.store import Store
from lunasched.systemd.manager import Manager, UnitState
from lunasched.units import compiler
from lunasched.units.compilation import compile_all
from lunasched.units.needs import Absence, Seen, lacking

MANY = 60


class Opened:
    """How often each file below a directory is opened."""

    def __init__(self) -> None:
        self.below: Path | None = None
        self.counts: dict[str, int] = {}
        sys.addaudithook(self._heard)

    def _heard(self, event: str, said: Any) -> None:
        if event == "open" and self.below is not None and str(said[0]).startswith(str(self.below)):
            name = Path(str(said[0])).name
            self.counts[name] = self.counts.get(name, 0) + 1


@pytest.fixture(scope="module")
def audit() -> Opened:
    return Opened()


@pytest.fixture
def opened(audit: Opened) -> Iterator[Opened]:
    audit.counts = {}
    yield audit
    audit.below = None


class States:
    """A manager that counts what it lists."""

    def __init__(self, states: Mapping[str, UnitState]) -> None:
        self._states = states
        self.patterns: list[tuple[str, ...]] = []

    def states(self, *patterns: str) -> dict[str, UnitState]:
        self.patterns.append(patterns)
        return {name: state for name, state in self._states.items() if name in patterns}


def jobs(count: int = MANY) -> list[Job]:
    return [job(name=f"j{number}", schedule="30 4 * * 1-5") for number in range(count)]


def directory(path: Path) -> UnitDirectory:
    return UnitDirectory(path, mark=unittext.OWNERSHIP_MARK, prefix="lunasched-")


def test_a_sync_with_nothing_to_do_opens_each_unit_once(tmp_path: Path, opened: Opened) -> None:
    units = directory(tmp_path)
    compiled = compile_all(jobs(), SYSTEM).compiled
    texts = {unit.name: unit.text for item in compiled for unit in item.units}
    with units.stage(texts) as staged:
        staged.install()
    nothing = cast("Any", None)
    reconciler = Reconciler(units, nothing, nothing, nothing, nothing)
    opened.below = tmp_path
    difference = reconciler.compare(compiled, [])
    opened.below = None
    assert difference.is_empty
    assert opened.counts == dict.fromkeys(texts, 1)
    # What no job has is still found.
    (tmp_path / "lunasched-job@old.timer").write_text(f"{unittext.OWNERSHIP_MARK}\n")
    (tmp_path / "lunasched-job@others.timer").write_text("[Timer]\n")
    assert reconciler.compare(compiled, []).stale == ("lunasched-job@old.timer",)


def test_the_doctor_opens_each_unit_once(tmp_path: Path, opened: Opened) -> None:
    paths = Paths.of(Mode.USER, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
    all_jobs = jobs()
    texts = {
        unit.name: unit.text
        for item in compile_all(all_jobs, SYSTEM).compiled
        for unit in item.units
    }
    with directory(paths.units).stage(texts) as staged:
        staged.install()
    opened.below = paths.units
    facts = unitcheck.look(all_jobs, paths, SYSTEM, 0)
    opened.below = None
    assert (facts.missing, facts.changed, facts.orphans) == ((), (), ())
    assert {name: opened.counts[name] for name in texts} == dict.fromkeys(texts, 1)


def test_the_lines_of_a_schedule_are_found_once_for_all_its_jobs() -> None:
    forget_zones()
    compile_all(jobs(), SYSTEM)
    assert timing.cache_info().misses == 1
    # With new zones, nothing of the old is left.
    forget_zones()
    assert timing.cache_info().currsize == 0


def test_templates_are_read_once_for_all_jobs() -> None:
    compile_all(jobs(2), SYSTEM)
    # Else each unit looks at the file of its template.
    assert not compiler._environment(SYSTEM.templates).auto_reload


def test_what_jobs_do_not_set_is_one_object() -> None:
    with Store.in_memory() as store:
        with store.changing_jobs():
            for one in jobs(2):
                store.jobs.put(one, 1)
            store.jobs.put(job(name="own", retry_policy={"max_attempts": 3}), 1)
        first, second, own = store.jobs.all()
    assert first == jobs(1)[0]
    for part in ("limits", "retry", "hooks", "notifications"):
        assert getattr(first, part) is getattr(second, part)
    assert own.retry.max_attempts == 3


def test_a_change_of_one_job_lists_its_own_timer_alone(tmp_path: Path) -> None:
    compiled = compile_all(jobs(), SYSTEM).compiled
    active = UnitState("loaded", "active", "waiting", has_job=False)
    manager = States({f"lunasched-job@j{number}.timer": active for number in range(MANY)})
    loader = Loader(
        directory(tmp_path),
        SlotDirectory(tmp_path),
        tmp_path,
        cast("Manager", manager),
        SYSTEM,
        FirstRuns(tmp_path),
    )
    assert loader.running(compiled[:1]) == {"lunasched-job@j0.timer"}
    assert loader.running([]) == set()
    loader.running(compiled)
    loader.running()
    assert manager.patterns == [
        ("lunasched-job@j0.timer",), ("lunasched-job@*.timer",), ("lunasched-job@*.timer",),
    ]  # fmt: skip


def test_what_jobs_need_is_looked_for_once_for_all_of_them() -> None:
    class Counted(Surroundings):
        def examine(self, path: str) -> Seen | Absence:
            asked.append(path)
            return super().examine(path)

        def resolved(self, path: str) -> str:
            asked.append(path)
            return super().resolved(path)

    asked: list[str] = []
    machine = Counted(Mode.SYSTEM, ("/usr/bin", "/bin"))
    one = lacking(jobs(1), machine)
    few, asked = asked, []
    many = lacking(jobs(), machine)
    assert asked == few
    assert len(many) == MANY * len(one)


def test_every_name_of_the_store_is_found() -> None:
    found = {name: getattr(store_room, name) for name in store_room.__all__}
    homes = {name: home for home, names in store_room._HOMES.items() for name in names}
    assert found.keys() == homes.keys()
    for name, one in found.items():
        assert one is getattr(sys.modules[homes[name]], name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = store_room.nothing

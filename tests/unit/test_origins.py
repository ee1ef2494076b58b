"""Jobs that come from a crontab: kept with their lines, and changed there alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from samples import job

from lunasched.deploy.plan import plan, plan_source
from lunasched.errors import InvalidInput
from lunasched.jobs.origin import JobOrigin
from lunasched.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

SPOOL = "/var/spool/cron/crontabs/alice"
FILE = "/etc/cron.d/php"
ORIGINS = {
    "php-b": JobOrigin(FILE, 9, "9 * * * * root b"),
    "php-a": JobOrigin(FILE, 3, "9 * * * * root a"),
    "alice-x": JobOrigin(SPOOL, 7, "@daily x"),
}


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.in_memory() as found:
        with found.changing_jobs():
            for name, origin in ORIGINS.items():
                found.jobs.put(job(name=name), 1)
                found.jobs.put_origin(name, origin)
            found.jobs.put(job(name="own"), 1)
        yield found


@pytest.mark.parametrize(
    ("source", "line", "label"),
    [
        (SPOOL, 7, "crontab of alice:7"),
        (FILE, 3, "cron.d/php:3"),
        ("/etc/cron.daily/logrotate", 0, "cron.daily/logrotate"),
        ("/etc/crontab", 12, "/etc/crontab:12"),
        ("/srv/jobs", 1, "/srv/jobs:1"),
    ],
)
def test_where_a_job_comes_from(source: str, line: int, label: str) -> None:
    assert JobOrigin(source, line, "").label == label


def test_a_job_has_its_origin_as_long_as_it_is_there(store: Store) -> None:
    assert store.jobs.origins() == ORIGINS
    assert store.jobs.origins(["php-a", "own", "none"]) == {"php-a": ORIGINS["php-a"]}
    assert store.jobs.sources() == [FILE, SPOOL]
    of_file = [(found.name, origin) for found, origin in store.jobs.of_source(FILE)]
    assert of_file == [("php-a", ORIGINS["php-a"]), ("php-b", ORIGINS["php-b"])]
    with store.changing_jobs():
        # A change of the job leaves it, a job of the same name later does not have it.
        store.jobs.put(job(name="php-a", command="other"), 2)
        store.jobs.delete("php-b")
        store.jobs.put(job(name="php-b"), 2)
        store.jobs.put_origin("alice-x", JobOrigin(SPOOL, 8, "@daily x"))
    origins = store.jobs.origins()
    assert origins == {"php-a": ORIGINS["php-a"], "alice-x": JobOrigin(SPOOL, 8, "@daily x")}


def test_a_file_of_jobs_neither_changes_nor_removes_what_is_of_a_crontab(store: Store) -> None:
    found = plan([job(name="new")], store, prune=True)
    assert [one.name for one in found.removed] == ["own"]
    assert plan([job(name="php-a")], store, prune=True).unchanged == (job(name="php-a"),)
    with pytest.raises(InvalidInput, match=r"'php-a' comes from a crontab \(cron.d/php:3\)"):
        plan([job(name="php-a", command="other")], store)


def test_the_jobs_of_a_crontab_become_those_of_its_entries(store: Store) -> None:
    moved, new = JobOrigin(FILE, 4, "9 * * * * root a"), JobOrigin(FILE, 5, "@daily root c")
    found = plan_source(FILE, [(job(name="php-a"), moved), (job(name="php-c"), new)], store)
    assert [one.name for one in found.unchanged] == ["php-a"]
    assert [one.name for one in found.added] == ["php-c"]
    assert [one.name for one in found.removed] == ["php-b"]
    assert found.origins == {"php-a": moved, "php-c": new}
    changed = plan_source(FILE, [(job(name="php-b", command="other"), moved)], store).changed
    assert [after.command for _, after in changed] == ["other"]
    assert {one.name for one in plan_source(FILE, [], store).removed} == {"php-a", "php-b"}


@pytest.mark.parametrize("name", ["own", "alice-x"])
def test_a_crontab_takes_the_name_of_no_job_of_others(store: Store, name: str) -> None:
    with pytest.raises(InvalidInput, match=f"there is a job '{name}' already"):
        plan_source(FILE, [(job(name=name), ORIGINS["php-a"])], store)

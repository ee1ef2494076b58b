"""Jobs that come from a crontab: kept with their lines, and changed there alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from samples import job

from lunasched.deploy.plan import check_entry, plan, plan_sources
from lunasched.deploy.servedcrontabs import CrontabFault
from lunasched.deploy.servedcrontabs import serve as crontabs_of
from lunasched.errors import InvalidInput, InvalidJobs
from lunasched.jobs.origin import JobOrigin
from lunasched.store import Store
from lunasched.transfer.crontab import CronFormat, CrontabSource
from lunasched.transfer.crontab.source import CronScript

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lunasched.deploy.plan import Entries
    from lunasched.store.jobtable import JobTable

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


def test_the_jobs_of_crontabs_become_those_of_their_entries(store: Store) -> None:
    moved, new = JobOrigin(FILE, 4, "9 * * * * root a"), JobOrigin(FILE, 5, "@daily root c")
    entries = [(job(name="php-a"), moved), (job(name="php-c"), new)]
    found = plan_sources({FILE: entries, SPOOL: [(job(name="alice-x"), ORIGINS["alice-x"])]}, store)
    assert [one.name for one in found.unchanged] == ["php-a", "alice-x"]
    assert [one.name for one in found.added] == ["php-c"]
    assert [one.name for one in found.removed] == ["php-b"]
    assert found.origins == {"php-a": moved, "php-c": new, "alice-x": ORIGINS["alice-x"]}
    changed = plan_sources({FILE: [(job(name="php-b", command="other"), moved)]}, store).changed
    assert [after.command for _, after in changed] == ["other"]
    assert {one.name for one in plan_sources({}, store).removed} == set(ORIGINS)


def test_a_crontab_takes_the_name_of_no_other_job(store: Store) -> None:
    entry = (job(name="own"), ORIGINS["php-a"])
    with pytest.raises(InvalidInput, match="there is a job 'own' already"):
        plan_sources({FILE: [entry]}, store)
    entry = (job(name="alice-x"), ORIGINS["alice-x"])
    with pytest.raises(InvalidInput, match="two entries of crontabs have the same name"):
        plan_sources({FILE: [entry], SPOOL: [entry]}, store)


# All of a machine's crontabs


class Deployed:
    """What is asked of the use case that changes jobs, which takes some of them for invalid."""

    def __init__(self, store: Store, invalid: Mapping[str, str] | None = None) -> None:
        self.store = store
        self.invalid = invalid or {}
        self.asked = 0

    def put(self, entries: Callable[[JobTable], Mapping[str, Entries]]) -> Mapping[str, list[str]]:
        self.asked += 1
        found = entries(self.store.jobs)
        names = {source: [one.name for one, _ in each] for source, each in found.items()}
        faults = [
            (n, self.invalid[n]) for each in names.values() for n in each if n in self.invalid
        ]
        if faults:
            raise InvalidJobs(faults)
        return names


def serve(
    deployed: Deployed, texts: Mapping[CrontabSource, str]
) -> tuple[Mapping[str, list[str]], list[CrontabFault]]:
    return crontabs_of(deployed.put, [(text.encode(), source) for source, text in texts.items()])


ALICE = CrontabSource(SPOOL, CronFormat.USER, prefix="crontab.alice", user="alice")
PHP = CrontabSource(FILE, CronFormat.SYSTEM, prefix="cron.d-php")


def test_a_line_that_cannot_be_a_job_keeps_no_other_from_being_one(store: Store) -> None:
    texts = {PHP: "1 1 * * * root a\n2 2 * * * root b\n61 * * * * root c\n", ALICE: "@daily x\n"}
    deployed = Deployed(store, {"cron.d-php-b": "schedule: it never elapses"})
    found, faults = serve(deployed, texts)
    assert found == {FILE: ["cron.d-php-a"], SPOOL: ["alice-x"]}
    assert [(fault.source, fault.line) for fault in faults] == [(FILE, 3), (FILE, 2)]
    assert faults[1].message == "schedule: it never elapses"
    assert deployed.asked == 2


def test_what_stays_invalid_is_an_error(store: Store) -> None:
    class Stubborn(Deployed):
        def put(self, entries: object) -> Mapping[str, list[str]]:
            raise InvalidJobs([("other", "it is invalid")])

    with pytest.raises(InvalidJobs):
        serve(Stubborn(store), {ALICE: "@daily x\n"})


def test_names_are_given_once_over_all_crontabs(store: Store) -> None:
    """Whatever a user names their program: no job of another has its name because of it."""
    with store.changing_jobs():
        store.jobs.put(job(name="crontab.alice-y"), 1)
    texts = {
        ALICE: "@daily x\n@daily y\n@daily /home/alice/bin/cron.d-php\n",
        PHP: "@daily root /usr/bin/php\n",
    }
    found, _ = serve(Deployed(store), texts)
    assert found == {
        SPOOL: ["alice-x", "crontab.alice-y-2", "crontab.alice-cron.d-php"],
        FILE: ["cron.d-php"],
    }
    # The same of two crontabs: "a" with "b-x", and "a-b" with "x".
    first, second = (
        CrontabSource(f"/spool/{user}", CronFormat.USER, prefix=f"crontab.{user}", user=user)
        for user in ("a", "a-b")
    )
    found, _ = serve(Deployed(store), {first: "@daily b-x\n", second: "@daily x\n"})
    assert list(found.values()) == [["crontab.a-b-x"], ["crontab.a-b-x-2"]]


DAILY = "/etc/cron.daily"
RUN_DAILY = f"1 1 * * * root run-parts {DAILY}\n"


def scripts(directory: str) -> list[CronScript]:
    return [CronScript(f"{directory}/{name}", ("/bin/true",)) for name in "abc"]


def test_a_script_that_cannot_be_a_job_keeps_no_other_from_being_one(store: Store) -> None:
    """Though the others come after it."""
    followed: dict[str, tuple[str, ...]] = {}

    class Following(Deployed):
        def put(self, entries: Callable[[JobTable], Mapping[str, Entries]]) -> Any:
            each = [job for found in entries(self.store.jobs).values() for job, _ in found]
            followed.update((job.name, job.after) for job in each)
            return super().put(entries)

    source = replace(PHP, scripts=scripts)
    _, faults = serve(Following(store, {"cron.daily-a": "it is invalid"}), {source: RUN_DAILY})
    assert faults == [CrontabFault(f"{DAILY}/a", 0, "it is invalid", mailed_to="root")]
    assert (followed["cron.daily-b"], followed["cron.daily-c"]) == ((), ("cron.daily-b",))


def test_two_crontabs_that_run_the_same_scripts(store: Store) -> None:
    """As with cron, each is run twice, under two names that stay."""
    first, second = (
        CrontabSource(f"/etc/cron.d/{name}", CronFormat.SYSTEM, scripts=scripts) for name in "xy"
    )
    expected = [[f"cron.daily-{name}{number}" for name in "abc"] for number in ("", "-2")]
    found, _ = serve(Deployed(store), {first: RUN_DAILY, second: RUN_DAILY})
    assert list(found.values()) == expected
    with store.changing_jobs():
        for name in (name for names in expected for name in names):
            store.jobs.put(job(name=name), 1)
            store.jobs.put_origin(name, JobOrigin(f"{DAILY}/{name[11]}", 0, ""))
    found, _ = serve(Deployed(store), {first: RUN_DAILY, second: RUN_DAILY})
    assert list(found.values()) == expected


def test_an_adopted_entry_makes_no_job_again(store: Store) -> None:
    """Until it is gone from its crontab: the same line is a new job then."""
    forgotten: list[str] = []

    def served(text: str) -> list[str]:
        put = Deployed(store).put
        found, _ = crontabs_of(put, [(text.encode(), PHP)], forgotten.extend)
        return found[FILE]

    line = "9 * * * * root a\n"
    with store.changing_jobs():
        store.jobs.adopt("php-a")
    assert "php-a" not in store.jobs.origins() and store.jobs.get("php-a") is not None
    assert store.jobs.adopted() == [("php-a", FILE, line.strip())]
    assert (served(f"{line}9 * * * * root b\n"), forgotten) == (["php-b"], [])
    # Where it is there twice, the other one still is a job.
    assert (served(f"{line}{line}"), forgotten) == (["cron.d-php-a"], [])
    assert (served(f"#{line}9 * * * * root b\n"), forgotten) == (["php-b"], ["php-a"])
    with store.changing_jobs():
        store.jobs.forget_adopted("php-a")
    assert served(line) == ["cron.d-php-a"]
    # Who removes the job has the line served again.
    with store.changing_jobs():
        store.jobs.adopt("php-b")
        store.jobs.delete("php-b")
    assert store.jobs.adopted() == []


def test_only_an_entry_of_a_crontab_can_be_adopted() -> None:
    assert check_entry("php-a", ORIGINS["php-a"]) == ORIGINS["php-a"]
    script = JobOrigin(f"{DAILY}/a", 0, "")
    for origin, said in ((None, "comes from no crontab"), (script, "is the script")):
        with pytest.raises(InvalidInput, match=said):
            check_entry("x", origin)

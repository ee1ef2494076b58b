"""Inputs of every kind that comes from outside, by the hundred thousand: `make fuzz`.

An input is one that is good, changed at random, or bytes of any kind. Whatever it is, what reads it
raises an error of the documented classes or none, within 1 s of processor time and 200 MB of
memory. An input depends on the seed, its kind and its number alone::

    fuzz.py [--count N] [--seed SEED] [--kind KIND] [--number NUMBER]

FUZZ_N and LUNASCHED_SEED stand for the first two. A failure prints the options that repeat it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import resource
import secrets
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lunasched import schedule
from lunasched.errors import LunaschedError
from lunasched.files import configfile, settings
from lunasched.formats.document import Format, read_document
from lunasched.store import Store
from lunasched.transfer import crontab
from lunasched.transfer.crontab import CronFormat, CrontabSource
from lunasched.web.access import Access
from lunasched.web.httpserver import Request, respond
from lunasched.web.site import Identity, Site

CPU_SECONDS = 1.0
MEMORY_BYTES = 200 << 20
NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
_ZONES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/New_York")


class TooSlowError(BaseException):
    """More than the limit of processor time; no ``except Exception`` takes it."""


# What reads them


def read_schedule(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    zone = _ZONES[len(data) % len(_ZONES)]
    rule = schedule.parse(text)
    schedule.describe(rule)
    schedule.timing(rule, timezone=zone, host_timezone="Europe/Berlin", now=NOW)
    if isinstance(rule, (schedule.Calendar, schedule.SystemdCalendar)):
        list(islice(schedule.elapses(rule, timezone=zone, after=NOW), 3))
        schedule.latest_elapse(rule, timezone=zone, at=NOW)


def read_file(form: Format) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        document = read_document(data, "fuzz", form)
        with contextlib.suppress(LunaschedError):
            configfile.read_config(document)
        settings.of_document(document)

    return read


def read_crontab(data: bytes) -> None:
    form = (CronFormat.USER, CronFormat.SYSTEM, CronFormat.ANACRON)[len(data) % 3]
    crontab.read_crontab(
        data, CrontabSource(label="fuzz", format=form, users=frozenset({"root", "luna"}))
    )


def read_request(data: bytes) -> None:
    """The whole way through the page's server, with a history that is empty."""
    ours, theirs = socket.socketpair()
    said = io.StringIO()
    with ours, theirs, contextlib.redirect_stderr(said):
        answer = respond(ours, data, _site().answer)
    if "Error" in said.getvalue() or b" 500 " in answer.partition(b"\r\n")[0]:
        raise AssertionError(said.getvalue())


class _Everybody(Access):
    def admits(self, request: Request) -> bool:
        return True

    def trusts(self, request: Request) -> bool:
        return True


def _site() -> Site:
    return Site(
        open_source=Store.in_memory,
        metrics=lambda: b"",
        access=_Everybody(
            names=frozenset({"box"}),
            private=False,
            show_output=True,
            uid=os.getuid(),
            group=None,
        ),
        identity=Identity(host="box", timezone="UTC", default_user="root", command="lunasched"),
        now=lambda: 1_767_225_600_000_000,
    )


# What they are made of

SCHEDULES = (
    "every 1h30m", "every 2w", "at 02:30 on Mon,Fri", "on 1st,3rd Mon at 09:00",
    "on last Fri at 8:15",
    "0 3 * * *", "cron:*/15 9-17 * * mon-fri", "30 2 L * *", "0 12 * * 5#2", "0 0 29 2 *",
    "*/10 0 0 1-7 * 1", "@daily", "@reboot", "on demand", "calendar:Mon..Fri *-*-* 09:00/15:30.5",
    "calendar:*-*~07/1 00:00:00 Europe/Berlin", "calendar:2026..2030-02~03 4:05", "calendar:@86400",
)  # fmt: skip
WORDS = (
    "*", "/", "-", ",", ":", "..", "~", "#", "L", "W", "?", "H", "R", "@", "mon", "jan", "last",
    "1st", "every", "at", "on", "cron:", "calendar:", "0", "1", "7", "59", "60", "99999", "-1",
    "1e9", "0x10", " ", "\t", "\n", "\r\n", "\0", "\x1b[31m", "\x1c", "\x1f", "\x80",
    "\u00a0", "\u0663", "\u00b2",
    "\u202e", "\ufeff", "\ud800", "K", "µ", "%", "$", "\\", '"', "'", "`", "{", "}", "[", "]", "&a",
    "*a", "<<:", "---", "!!int", "|", ">", "=", "==", "true", "null", ".inf", ".", "e", "_", "+",
)  # fmt: skip
YAML = (
    """jobs:
  - name: backup
    schedule: at 02:30
    command: [/usr/bin/rsync, -a, /home, /backup]
    user: root
    resource_limits: {max_memory_mb: 512, cpu_quota: 0.5, timeout_seconds: 1h, tasks_max: "5"}
    retry_policy: {max_attempts: 3, backoff_strategy: Exponential, initial_delay: 60}
    hooks: {on_failure: [echo failed]}
    notification_config: {on_failure: [{Email: {to: root}}]}
    sandbox: {private_tmp: true, protect_system: strict, system_call_filter: ["@system-service"]}
    systemd: {LimitNOFILE: 1024}
    env: {A: b}
    depends_on: []
    tags: [a, b]
""",
    "global: {max_concurrent_jobs: 4, default_timezone: Europe/Berlin}\n"
    "web: {enabled: true, address: 127.0.0.1, port: 8080, hosts: [box]}\n"
    "metrics: {textfile: /x.prom}\n",
    "a: &a [1, 2]\nb: *a\nc: {<<: {d: 1}}\njobs: []\n",
    '{"jobs": [{"name": "a", "schedule": "every 1h", "command": "true", "jitter": "5m"}]}',
)
TOML = (
    """[[jobs]]
name = "backup"
schedule = "at 02:30"
command = ["/usr/bin/rsync", "-a"]
resource_limits = { max_memory_mb = 512, cpu_quota = 0.5 }
retry_policy.max_attempts = 3
[jobs.env]
A = 'b'
""",
    '[server]\nmax_concurrent_jobs = 4\n[web]\nport = 8080\nhosts = ["box"]\nx = 1979-05-27\n',
    'a.b.c = 1\n[x."y z"]\nw = """\nmany\nlines"""\nv = 0xff\nu = 1_000.5e3\nt = [1, [2, 3]]\n',
)
CRONTABS = (
    "SHELL=/bin/bash\nPATH=/usr/bin:/bin\nMAILTO=root\n*/5 * * * * echo a%b\n@daily true\n",
    "17 * * * * root cd / && run-parts --report /etc/cron.hourly\n0 3 1-7 * mon luna sleep 1 &\n",
    "RANDOM_DELAY=45\nSTART_HOURS_RANGE=3-22\n1 5 cron.daily nice run-parts /etc/cron.daily\n",
    "10~20 0~23 * * * true\nCRON_TZ=Europe/Berlin\n-0 2 * * * quiet\n@monthly 10 id cmd\n",
)
REQUESTS = (
    "GET / HTTP/1.1\r\nHost: box\r\n\r\n",
    "GET /api/v1/runs?job=a&since=2026-11-24T06:00:00Z&limit=10&cursor=1.2 HTTP/1.1\r\n"
    "Host: box\r\n\r\n",
    "GET /jobs/a%2Fb?page=2&name=%00%ff HTTP/1.0\r\nHost: box:8080\r\nCookie: a=b\r\n\r\n",
    "HEAD /metrics HTTP/1.1\r\nHost: [::1]\r\nAccept: */*\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
    "GET /?q=a+b&tag=%C3%A4&state=failed HTTP/1.1\nHost: box\n\n",
    "POST /api/v1/jobs HTTP/1.1\r\nHost: box\r\nContent-Length: 99999999999\r\n\r\n{}",
    "GET /runs/11111111-1111-1111-1111-111111111111 HTTP/1.1\r\nHost: box\r\n\r\n",
)


@dataclass(frozen=True)
class Kind:
    """A kind of input: good ones, and what reads them."""

    seeds: Sequence[str]
    read: Callable[[bytes], None]


KINDS = {
    "schedule": Kind(SCHEDULES, read_schedule),
    "yaml": Kind(YAML, read_file(Format.YAML)),
    "toml": Kind(TOML, read_file(Format.TOML)),
    "crontab": Kind(CRONTABS, read_crontab),
    "http": Kind(REQUESTS, read_request),
}


def make(kind: str, seed: int, number: int) -> bytes:
    """An input; the same for the same arguments."""
    rng = random.Random(f"{seed}:{kind}:{number}")
    if rng.random() < 0.05:
        return rng.randbytes(rng.choice((1, 10, 100, 1000, 20_000)))
    text = rng.choice(KINDS[kind].seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 10))):
        text = _changed(rng, text, KINDS[kind].seeds)
    data = text.encode(errors="surrogatepass")
    if rng.random() < 0.1:
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.randbytes(rng.randrange(4)) + data[at:]
    return data


def _changed(rng: random.Random, text: str, seeds: Sequence[str]) -> str:
    at = rng.randrange(len(text) + 1)
    to = min(len(text), at + rng.choice((0, 1, 1, 2, 5, 20)))
    word = rng.choice(WORDS)
    match rng.randrange(8):
        case 0:
            return text[:at] + text[to:]
        case 1:
            return text[:at] + word + text[to:]
        case 2:
            return text[:at] + word * rng.choice((2, 10, 60, 300, 5000, 16_000)) + text[to:]
        case 3:
            return text[:at] + text[at:to] * rng.choice((2, 3, 50, 2000)) + text[to:]
        case 4:
            other = rng.choice(seeds)
            return text[:at] + other[rng.randrange(len(other)) :]
        case 5:
            return text[:at] + str(rng.choice((0, -1, 2**31, 2**63, 10**30))) + text[to:]
        case 6:
            pair = rng.choice(("[]", "{}", "()", '""', "a.", "- ", "[[]]", "? ", "{a: ", "&a *a"))
            return (
                text[:at]
                + pair[: len(pair) // 2 or 1] * rng.choice((10, 49, 51, 1000, 9000))
                + text[to:]
            )
        case _:
            return text[:at] + "".join(rng.choices(WORDS, k=rng.randrange(1, 8))) + text[to:]


# How they are tried


def tried(kind: str, data: bytes) -> str | None:
    """What is wrong with how an input is read, or ``None``; only in a process of its own."""
    begun = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        KINDS[kind].read(data)
    except LunaschedError:
        pass
    except TooSlowError:
        return f"more than {CPU_SECONDS:g} s of processor time:\n{traceback.format_exc(-3)}"
    except BaseException:
        return f"an error that is not documented:\n{traceback.format_exc(-6)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    took = time.process_time() - begun
    return f"{took:.1f} s of processor time" if took > CPU_SECONDS else None


def bounded() -> None:
    """Set the limits of this process: so much memory on top of what it has, and the clock."""

    def stop(*_: object) -> None:
        raise TooSlowError

    signal.signal(signal.SIGPROF, stop)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def warm() -> None:
    """Load what is loaded late, so that it counts for no input."""
    for kind, one in KINDS.items():
        for text in one.seeds:
            with contextlib.suppress(LunaschedError):
                KINDS[kind].read(text.encode())


def failures(kind: str, seed: int, numbers: Sequence[int]) -> Iterator[str]:
    """Try inputs in a process of their own; what is wrong with any of them."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        with os.fdopen(write, "w", buffering=1) as out:
            bounded()
            for number in numbers:
                print(f"> {number}", file=out)
                problem = tried(kind, make(kind, seed, number))
                if problem:
                    print(f"! {number} {problem!r}", file=out)
            print("done", file=out)
        os._exit(0)
    os.close(write)
    last, done = numbers[0], False
    with os.fdopen(read) as said:
        for line in said:
            if line.startswith(">"):
                last = int(line[2:])
            elif line.startswith("!"):
                failed, _, problem = line[2:].partition(" ")
                yield _told(kind, seed, int(failed), problem)
            else:
                done = True
    _, status = os.waitpid(child, 0)
    if not done:
        yield _told(kind, seed, last, f"the process ended with status {status}")
        rest = [number for number in numbers if number > last]
        if rest:
            yield from failures(kind, seed, rest)


def _told(kind: str, seed: int, number: int, problem: str) -> str:
    data = make(kind, seed, number)
    again = f"tests/security/fuzz.py --seed {seed} --kind {kind} --number {number}"
    return f"{again}\n    {len(data)} bytes: {data[:300]!r}\n    {problem.strip()}"


def run(count: int, seed: int, kinds: Sequence[str]) -> list[str]:
    """Try so many inputs of all kinds together; all that is wrong."""
    warm()
    found: list[str] = []
    for kind in kinds:
        begun, each = time.monotonic(), count // len(kinds)
        for start in range(0, each, 2000):
            found += failures(kind, seed, range(start, min(start + 2000, each)))
        print(f"{kind}: {each} inputs, {time.monotonic() - begun:.0f} s", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=int(os.environ.get("FUZZ_N", "100000")))
    given = os.environ.get("LUNASCHED_SEED")
    parser.add_argument("--seed", type=int, default=int(given or secrets.randbits(32)))
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--number", type=int)
    options = parser.parse_args()
    print(f"LUNASCHED_SEED={options.seed}", flush=True)
    if options.number is not None:
        warm()
        found = list(failures(options.kind, options.seed, [options.number]))
    else:
        found = run(options.count, options.seed, [options.kind] if options.kind else [*KINDS])
    for problem in found:
        print(problem)
    print(f"{len(found)} failures")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

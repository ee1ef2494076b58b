"""Files with a few random changes, applied on a real systemd: all of a file or nothing of it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mutations import mutated

if TYPE_CHECKING:
    import random

    from installed import Lunasched

pytestmark = [pytest.mark.machine, pytest.mark.slow]

TREE = Path(__file__).resolve().parent.parent.parent
FILES = 400

# Applies each file and looks at what became of it, in one process: a start of Python for each
# would take the most of the time.
APPLY = """
import base64, io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

sys.path.insert(0, "/opt/lunasched")
from lunasched.files import configfile; from lunasched.formats import document
from lunasched.cli import main
from lunasched.cli.session import Session
from lunasched.units.commandchannels import channel_unit_names as commands
from lunasched.deploy.change import file_names
from lunasched.errors import InvalidInput

units = Path("/etc/systemd/system")


def state():
    session = Session.choose(True)
    with session.store as store:
        jobs = {job.name: job for job in store.jobs.all()}
    files = {
        (str(path), path.lstat().st_ino, path.lstat().st_mtime_ns)
        for directory in (units, units / "timers.target.wants")
        for path in directory.glob("lunasched-*@*")
    }
    return jobs, files


done = refused = 0
for number, (suffix, prune, encoded) in enumerate(json.load(open("/tmp/changed.json"))):
    content = base64.b64decode(encoded)
    path = Path(f"/tmp/changed.{suffix}")
    path.write_bytes(content)
    before = state()
    sys.argv = ["lunasched", "apply", *(["--prune", "--allow-empty"] if prune else []), str(path)]
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        status = main()
    jobs, files = state()
    about = f"file {number}: {content!r}: {said.getvalue()}"
    assert "an unexpected error" not in said.getvalue(), about
    if status:
        assert status == 2, about
        assert (jobs, files) == before, about
        refused += 1
        continue
    read = document.read_document(content, "x", document.Format.of(path.name))
    wanted = {entry.job.name: entry.job for entry in configfile.read_config(read).entries}
    assert jobs == (wanted if prune else {**before[0], **wanted}), about
    names = {Path(file).name for file, _, _ in files} - {"lunasched-job@.service.d"}
    known = {unit for job in jobs.values() for unit in (*file_names(job.name), *commands(job))}
    assert names <= known, about
    done += 1
print(json.dumps([done, refused]))
"""


def test_a_changed_file_is_applied_in_whole_or_not_at_all(
    luna: Lunasched, rng: random.Random
) -> None:
    paths = [TREE / "packaging/examples/jobs.yaml", TREE / "packaging/examples/jobs.toml"]
    paths += [
        TREE / f"tests/golden/files/{stem}.{suffix}"
        for stem in ("short", "lunasched-1")
        for suffix in ("yaml", "toml")
    ]
    files = []
    for _ in range(FILES):
        path = rng.choice(paths)
        sources = [other.read_bytes() for other in paths if other.suffix == path.suffix]
        encoded = base64.b64encode(mutated(rng, sources)).decode()
        files.append([path.suffix[1:], rng.random() < 0.5, encoded])
    luna.machine.write_file("/tmp/changed.json", json.dumps(files))
    done, refused = json.loads(luna.machine.run(["python3", "-c", APPLY], timeout=400).stdout)
    assert done + refused == FILES
    # Both happen, or nothing was shown.
    assert done > 10 and refused > 10
    assert "as it should be" in luna("sync").stdout

"""What is said at once of a job that cannot run, beside what then becomes of its runs."""

from __future__ import annotations

import json
import re

import pytest
from installed import Lunasched

pytestmark = pytest.mark.machine

# What a job is given, what is said of it, and the exit status of its runs.
REFUSED = {
    "user": (["--run-as", "nosuch", "--command", "true"], "user: there is no user 'nosuch'", 217),
    "group": (
        ["--systemd", "Group=nosuch", "--command", "true"],
        "systemd.Group: there is no group 'nosuch'",
        216,
    ),
    "directory": (
        ["--working-directory", "/nosuch", "--command", "true"],
        "working_directory: /nosuch is not there",
        200,
    ),
    "closed": (
        ["--run-as", "luna", "--working-directory", "/root", "--command", "true"],
        "working_directory: luna may not enter /root",
        200,
    ),
    "hidden": (
        ["--sandbox", "protect_home", "--", "/home/luna/script"],
        "command: sandbox.protect_home hides /home/luna/script",
        203,
    ),
    "shell": (["--", "/bin/zsh", "-c", "true"], "command: /bin/zsh is not there", 203),
    "name": (["--", "nosuch"], "command: there is no program 'nosuch' in /usr/local/sbin:", 203),
    "script": (["--", "/opt/dos"], "command: the first line of /opt/dos ends with a carriage", 203),
    "sandbox": (
        ["--sandbox", "read_write_paths=/nosuch", "--command", "true"],
        "sandbox.read_write_paths: /nosuch is not there",
        226,
    ),
    "credential": (
        ["--systemd", "LoadCredential=a:/nosuch", "--command", "true"],
        "systemd.LoadCredential: /nosuch is not there",
        243,
    ),
    "variables": (
        ["--systemd", "EnvironmentFile=/nosuch", "--command", "true"],
        "systemd.EnvironmentFile: /nosuch is not there",
        1,
    ),
    "command": (["--command", "nosuch --now"], "command: there is no program 'nosuch'", 127),
}


def test_what_is_said_of_a_job_becomes_of_its_runs(luna: Lunasched) -> None:
    luna.machine.run("install -D -m 755 /dev/null /home/luna/script")
    luna.machine.run("printf '#!/bin/sh\\r\\ntrue\\r\\n' >/opt/dos; chmod 755 /opt/dos")
    for name, (options, said, _) in REFUSED.items():
        added = luna("add", "--name", name, "--schedule", "@daily", *options)
        assert f"warning: {name}: {said}" in added.stderr, added.stderr
        status = re.search(r"exec-error \((\d+)\)", added.stderr)
        assert status is None or int(status[1]) == REFUSED[name][2]
    found = json.loads(luna("doctor", "--json", check=False).stdout)["findings"]
    for name, (_, said, expected) in REFUSED.items():
        assert luna("start", "--wait", name, check=False).returncode == expected, name
        (one,) = (each for each in found if f"'{name}': {said}" in each["what"])
        assert one["check"] == ("users" if name in ("user", "group") else "files")
        assert one["severity"] == ("warning" if name == "command" else "error")
    for name in REFUSED:
        if name != "command":
            assert luna.wait_for_runs(name, 1)[0]["result"] == "exec-error", name


def test_each_command_that_takes_a_job_says_it(luna: Lunasched) -> None:
    """Also that it was taken: the exit status is 0."""
    name, said = luna.name, "command: /opt/nosuch is not there now"
    luna.machine.write_file(
        "/tmp/job.yaml", f"jobs: [{{name: {name}, schedule: '@daily', command: [/opt/nosuch]}}]"
    )
    luna.machine.write_file("/tmp/entries", "@daily /opt/nosuch --from-cron\n")
    for command in (
        ["apply", "/tmp/job.yaml", "--dry-run"],
        ["import-config", "/tmp/job.yaml"],
        ["disable", name],
        ["enable", name],
        ["import-crontab", "/tmp/entries", "--user-format"],
    ):
        told = said in luna(*command).stderr
        assert told == (command[0] != "disable"), command
    edited = luna.machine.run(["lunasched", "edit", name], env={"EDITOR": "sed -i s/daily/weekly/"})
    assert f"warning: {name}: {said}" in edited.stderr
    assert luna("apply", "/tmp/job.yaml").stderr.count(said) == 1
    assert luna("apply", "/tmp/job.yaml").stderr == ""


def test_an_ordinary_users_job(own: Lunasched) -> None:
    """Names are looked for where the user's own manager has its units look."""
    own.machine.run("install -D /bin/true ~/bin/mine", user="luna")
    path = {"PATH": "/home/luna/bin:/usr/local/bin:/usr/bin:/bin"}
    command = ["lunasched", "add", "--name", own.name, "--schedule", "@daily", "--command", "mine"]
    added = own.machine.run(command, user="luna", env=path)
    assert "there is no program 'mine' in /" in added.stderr
    assert "it is /home/luna/bin/mine: write that" in added.stderr

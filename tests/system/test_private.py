"""What a private job runs is in no unit: nobody but root learns it from files or from systemd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = pytest.mark.machine

SECRET = "hush%n $HOME 'x' \"y\""
# All that somebody can read of units, and is told by the manager.
SEEN = """
for unit in {units}/lunasched-job@{name}* {units}/lunasched-hook@{name}*; do
    cat "$unit" || true
    systemctl show --all "$(basename "$unit")" || true
done
"""


@pytest.mark.parametrize("mode", ["luna", "own"])
def test_nobody_else_learns_what_it_runs(mode: str, request: pytest.FixtureRequest) -> None:
    luna: Lunasched = request.getfixturevalue(mode)
    machine, user = luna.machine, luna.user
    units = "/home/luna/.config/systemd/user" if user else "/etc/systemd/system"
    name = f"{luna.name} 50% é"
    path = f"{units}/lunasched-job@{luna.name}\\x2050\\x25\\x20\\xc3\\xa9.env"
    luna(
        "add", "--private", "--name", name, "--schedule", "@yearly", "--env", f"TOKEN={SECRET}",
        "--on-success", 'echo "$TOKEN" of hush',
        "--command", 'printf "%s|" "$TOKEN" hush-argument; env | grep -c ^TOKEN',
    )  # fmt: skip
    assert machine.run(["stat", "-c", "%a %U", path]).stdout == f"600 {user or 'root'}\n"
    luna("start", name, "--wait")
    (run,) = luna.wait_for_runs(name, 1)
    assert (run["result"], run["output"]) == ("success", f"{SECRET}|hush-argument|1\n")
    machine.wait_for(
        lambda: [one["result"] for one in luna.history(name)[0]["hooks"]] == ["success"],
        what="its hook",
    )
    if user is None:
        seen = machine.run(SEEN.format(units=units, name=luna.name), user="luna").stdout
        assert "${LUNASCHED_ARGUMENT_1}" in seen
        assert "Id=lunasched-hook@" in seen
        assert "hush" not in seen
    in_units = machine.run(f"grep -l hush {units}/lunasched-*", check=False).stdout
    assert in_units.splitlines() == [path]
    # A file that is lost is put back, and nothing is left of it when the job is private no more.
    machine.run(["rm", path])
    luna("sync")
    assert machine.run(["stat", "-c", "%a", path]).stdout == "600\n"
    of_all = ("--name", name, "--schedule", "@yearly", "--command", "echo hush")
    luna("add", "--replace", *of_all)
    assert machine.run(["test", "-e", path], check=False).returncode == 1
    luna("add", "--replace", "--private", *of_all)
    assert machine.run(["test", "-e", path], check=False).returncode == 0
    luna("remove", name)
    assert machine.run(["test", "-e", path], check=False).returncode == 1
    assert "as it should be" in luna("sync").stdout

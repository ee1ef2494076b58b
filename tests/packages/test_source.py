"""Installed without a package: the guide's own commands, word for word, on a booted machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from packaged import commands, guide_part

if TYPE_CHECKING:
    from machine import Machine

pytestmark = [pytest.mark.machine, pytest.mark.slow]

TREE = "/srv/tree"
# There is no network: what pip needs is installed.
PIP = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "false", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
HOUR = "--schedule @hourly --command 'echo done'"


@pytest.fixture(scope="module")
def tree(workshop: Machine) -> Machine:
    """The machine, with a copy of the tree in /srv/tree."""
    workshop.run(
        f"/opt/lunasched/packaging/build-tree {TREE} && cp /opt/lunasched/Makefile {TREE}/"
    )
    return workshop


def installation(number: int) -> list[str]:
    """The commands of one of the guide's ways."""
    return commands(guide_part("Installation"))[number]


def test_in_a_virtual_environment(tree: Machine) -> None:
    """For one's own jobs, by an ordinary user."""
    packages, *own = installation(1)
    tree.run(packages)
    for command in own:
        tree.run(f"cd {TREE} && {command}", user="luna", env=PIP, timeout=300)
    path = {"PATH": "/home/luna/.local/bin:/usr/bin:/bin"}

    def luna(command: str) -> str:
        return tree.run(command, user="luna", env=path).stdout

    luna("systemctl --user start lunasched")
    luna(f"lunasched add --name mine {HOUR}")
    assert luna("lunasched start mine --wait") == "done\n"
    tree.wait_for(lambda: "success" in luna("lunasched history mine"), what="its run on record")
    assert "lunasched-job@mine.timer" in luna("systemctl --user list-timers")
    assert "/home/luna/.local/lib/lunasched/" in luna("systemctl --user cat lunasched-job@mine")
    assert luna("man -w lunasched").startswith("/home/luna/.local/share/man/")
    luna("lunasched remove mine; systemctl --user stop lunasched")
    luna("rm -rf ~/.local ~/.config; systemctl --user daemon-reload")


def test_from_source(tree: Machine) -> None:
    """And uninstalled: jobs go on running, and are still there when it is back."""
    for turn in range(2):
        for command in installation(2):
            tree.run(f"cd {TREE} && {command}", env=PIP, timeout=300)
        if turn == 0:
            tree.run(f"lunasched add --name hourly {HOUR}")
        assert tree.run("lunasched start hourly --wait").stdout == "done\n"
        install_cron = tree.run(f"cd {TREE} && make install-cron").stdout
        for command in install_cron.splitlines()[1:]:
            tree.run(command)
        assert tree.run("echo '@daily true' | crontab - && crontab -l", user="luna").stdout == (
            "@daily true\n"
        )
        tree.run("crontab -r", user="luna")
        tree.run(f"make -C {TREE} uninstall && systemctl daemon-reload")
        found = tree.run("find /usr/local -name '*lunasched*' -o -name '*crontab*'").stdout
        assert found == ""
        assert tree.run("systemctl is-active lunasched-job@hourly.timer").stdout == "active\n"
    tree.run("systemctl stop lunasched-job@hourly.timer; rm -r /var/lib/lunasched*")
    tree.run("rm /etc/systemd/system/lunasched-job@hourly.* /etc/systemd/system/*/lunasched-job@*")

"""The rpm package, built by Debian's rpm: what is in it, and its scripts on a booted machine."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from installed import Lunasched
from packaged import Built

from lunasched import __version__

if TYPE_CHECKING:
    from machine import Machine

pytestmark = [pytest.mark.machine, pytest.mark.slow]

PACKAGE = f"/srv/dist/lunasched-{__version__}-1.noarch.rpm"
OF_CRON = f"/srv/dist/lunasched-cron-{__version__}-1.noarch.rpm"
RPM = "rpm --force-debian --nodeps"


@pytest.fixture(scope="module")
def builder(workshop: Machine) -> Machine:
    """The machine, with the package in /srv/dist."""
    workshop.run("make -C /opt/lunasched rpm DIST=/srv/dist", timeout=300)
    return workshop


def test_rpmlint_finds_nothing(builder: Machine) -> None:
    configuration = "/opt/lunasched/packaging/rpm/rpmlint.toml"
    said = builder.run(f"rpmlint --config {configuration} /srv/dist/*", check=False)
    assert "3 packages and 1 specfiles checked; 0 errors, 0 warnings" in said.stdout, said.stdout


@pytest.mark.parametrize("distribution", ["fedora 43", "rhel 10"])
def test_macros_of_the_distributions_are_used(builder: Machine, distribution: str) -> None:
    """Debian's rpm has none of them, so that they stand there as they are written."""
    spec = builder.run(
        ["rpmspec", "--define", distribution, "--parse", "/srv/dist/lunasched.spec"]
    ).stdout
    for macro in (
        "pyproject_buildrequires", "pyproject_wheel", "pyproject_install", "python3_sitelib",
        "systemd_post", "systemd_preun", "systemd_postun_with_restart", "_unitdir",
    ):  # fmt: skip
        assert f"%{macro}" in spec or f"%{{{macro}}}" in spec, macro
    assert "BuildRequires:  systemd-rpm-macros" in spec
    # rpm makes the user by itself there.
    assert "%pre\n" not in spec
    assert "@" not in re.sub(r"<.*?@.*?>|lunasched-\w+@|@\$", "", spec)


def test_unpacked_it_is_the_debian_package(built: Built, builder: Machine) -> None:
    """The same files in both, but for where each distribution wants them."""
    root = "/srv/unpacked"
    builder.run(
        f"rm -rf {root}; mkdir {root}; cd {root}; rpm2cpio {PACKAGE} | cpio --quiet -id", timeout=60
    )
    unpacked = builder.run(f"cd {root}; find . -type f -printf '/%P\\n'").stdout.split()
    (archive,) = built.directory.glob("dist/lunasched_*.deb")
    builder.copy(archive, "/srv/package.deb")
    packed = builder.run("dpkg-deb --fsys-tarfile /srv/package.deb | tar -t").stdout.split()
    of_debian = {name.lstrip(".") for name in packed if not name.endswith("/")}

    def common(names: set[str]) -> set[str]:
        plain = {
            re.sub(r"\.gz$", "", name)
            .replace("vendor-completions", "site-functions")
            .replace("/lib/systemd/system/", "/usr/lib/systemd/system/")
            .replace("/usr/usr/", "/usr/")
            for name in names
        }
        records = r".*\.dist-info/(RECORD|INSTALLER|licenses/.*)$"
        apart = re.compile(rf"/usr/share/(doc|licenses|lintian)/|{records}")
        return {name for name in plain if not apart.match(name)}

    assert common(set(unpacked)) == common(of_debian)
    modes = builder.run(
        f"rpm -qp --qf '[%{{FILEMODES:perms}} %{{FILEUSERNAME}}:%{{FILEGROUPNAME}} "
        f"%{{FILENAMES}}\\n]' {PACKAGE}"
    ).stdout
    assert "drwxr-x--- root:lunasched /etc/lunasched\n" in modes
    assert "-rw-r----- root:lunasched /etc/lunasched/config.yaml\n" in modes


def test_its_scripts(builder: Machine) -> None:
    """Installed, upgraded, erased and installed again: jobs go on, stop, and come back."""
    run = builder.run
    run(f"{RPM} --install {PACKAGE}")
    assert run("stat -c '%a %U:%G' /etc/lunasched/config.yaml").stdout == "640 root:lunasched\n"
    directories = run("stat -c '%a %U:%G' /var/lib/lunasched /var/lib/lunasched/history").stdout
    assert directories == "755 root:root\n700 lunasched:lunasched\n"
    assert run("systemctl is-enabled lunasched.service lunasched-sync.timer").stdout == (
        "enabled\nenabled\n"
    )
    run("systemctl start lunasched")
    run("lunasched add --name waits --schedule 'every 1h' -- sleep infinity")
    run("lunasched start waits")
    invocation = "systemctl show -P InvocationID lunasched-job@waits.service"
    before = run(invocation).stdout
    supervisor = run("systemctl show -P MainPID lunasched").stdout

    run(f"{RPM} --upgrade --replacepkgs {PACKAGE}")
    assert run(invocation).stdout == before
    assert run("systemctl show -P MainPID lunasched").stdout not in (supervisor, "0\n")

    run(f"{RPM} --erase lunasched")
    units = "systemctl list-units --plain --no-legend --state=active 'lunasched*'"
    assert run(units).stdout == ""
    assert run("find /etc/systemd -name '*lunasched*'").stdout == ""

    run(f"{RPM} --install {PACKAGE}")
    assert "lunasched-job@waits.timer" in run(units).stdout
    assert [job["name"] for job in json.loads(run("lunasched list --json").stdout)] == ["waits"]
    run("lunasched remove waits")
    run(f"{RPM} --erase lunasched")


def test_in_the_place_of_cronie(builder: Machine) -> None:
    """The crontabs of users are in its directory, which they can then change through the group."""
    luna = Lunasched(builder)
    path, text = "/var/spool/cron/luna", "0 0 1 1 * echo kept\n"
    builder.exec("rm -rf /var/spool/cron; mkdir -m 700 /var/spool/cron")
    builder.exec(f"cat >{path}; chmod 600 {path}; chown luna {path}", input=text)
    builder.run(f"{RPM} --install {PACKAGE} {OF_CRON}")
    state = f"stat -c '%a %U:%G' /var/spool/cron {path}"
    assert builder.run(state).stdout == "1730 root:crontab\n600 luna:root\n"
    listed = {job["name"]: job["origin"]["file"] for job in luna.json("list")}
    assert listed["crontab.luna-echo"] == path
    assert "crontab of luna:1" in luna("list").stdout
    assert builder.run(["crontab", "-l"], user="luna").stdout == text
    builder.run(["crontab", "-"], user="luna", input=f"{text}1 1 * * * true\n")
    builder.wait_for(
        lambda: "crontab.luna-true" in {job["name"] for job in luna.json("list")},
        what="the new entry to be a job",
    )
    assert builder.run(state).stdout == "1730 root:crontab\n600 luna:crontab\n"
    builder.run(f"{RPM} --upgrade --replacepkgs {PACKAGE} {OF_CRON}")
    assert len(luna.json("list")) >= 2
    builder.run(f"{RPM} --erase lunasched-cron")
    assert luna.json("list") == []
    assert builder.read_file(path) == f"{text}1 1 * * * true\n"
    builder.run(f"{RPM} --erase lunasched")
    builder.exec(f"rm {path}")

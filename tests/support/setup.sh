#!/bin/sh
# Installs the Debian packages that development needs, if this is root and some are missing;
# prints the one command that does, if it is not.
set -eu

packages="chromium debian-archive-keyring e2fsprogs make man-db mandoc mmdebstrap python3
    python3-cairo python3-gi python3-pydbus python3-systemd python3-venv qemu-system-x86 qemu-utils
    systemd systemd-container util-linux"

if ! command -v dpkg-query >/dev/null; then
    echo "lunasched is developed on Debian (12 or later) and its relatives; needed here are:" >&2
    echo $packages >&2
    exit 1
fi

missing=
for package in $packages; do
    status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "Debian packages are missing. Run this once, then try again:" >&2
    echo "    sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

echo "installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends \
        $missing >"$log" 2>&1 </dev/null
}
if ! install && ! { apt-get --quiet update >"$log" 2>&1 && install; }; then
    cat "$log" >&2
    exit 1
fi

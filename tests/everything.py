"""Run every test: those in the virtual machine beside all others, which saves their time.

What the virtual machine's tests print follows what the others do. The exit status is 0 if both
parts passed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

PYTEST = [str(Path(sys.executable).with_name("pytest"))]
_GRACE_S = 120


def main() -> int:
    """Run both parts; returns the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryFile() as said:
        beside = subprocess.Popen([*PYTEST, "-m", "vm"], stdout=said, stderr=subprocess.STDOUT)
        try:
            others = subprocess.run([*PYTEST, "-m", "not vm", *sys.argv[1:]], check=False)
            beside.wait()
        finally:
            if beside.poll() is None:
                # As Ctrl-C does: so that it takes its machine down.
                beside.send_signal(signal.SIGINT)
                beside.wait(_GRACE_S)
            said.seek(0)
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()
    return others.returncode or beside.returncode


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

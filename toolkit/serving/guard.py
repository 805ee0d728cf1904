"""End a server whose starter died without stopping it: killed, out of memory, or its terminal closed.

A shell waits at a pipe that only the starter can write to. A line means that the server was stopped; the end of the
pipe without one means that nobody is left to do it.
"""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

GRACE_S = 10

# $1 process group, $2 seconds of grace, the rest: what to remove afterwards
SCRIPT = """
read -r line && exit 0
group=$1 grace=$2
shift 2
kill -TERM "-$group" 2>/dev/null
while [ "$grace" -gt 0 ] && kill -0 "-$group" 2>/dev/null; do sleep 1; grace=$((grace - 1)); done
kill -KILL "-$group" 2>/dev/null
for path in "$@"; do rm -rf -- "$path"*; done
"""


class Guard:
    """Watches over process group ``group`` as long as this process lives; ``release`` once it has ended."""

    def __init__(self, group: int, remove: tuple[Path, ...]) -> None:
        """``remove`` are path prefixes that go when the guard has to act."""
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", SCRIPT, "trtkit-guard", str(group), str(GRACE_S), *map(str, remove)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def release(self) -> None:
        """Let the guard go; safe to call twice."""
        if self._shell.returncode is None:
            with suppress(BrokenPipeError):
                self._shell.communicate(b"stopped\n")

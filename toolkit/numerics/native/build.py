"""Compile ``kernels.c`` into a shared library beside it: ``python -m toolkit.numerics.native.build``.

The wheel's build hook and ``scripts/setup.sh`` use this, too, and it needs the standard library only. Nothing is ever
compiled on import: without the library the codecs run on NumPy. The library carries the digest of its sources, so one
that an older checkout left behind is not taken for this one's.

The compiler is ``$CC`` (it may have arguments: ``zig cc -target aarch64-linux-gnu.2.17``), else cc, gcc or clang. One
library serves every Python on its platform, and every CPU: it chooses AVX2, AVX-512 or plain C when it runs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = (FOLDER / "kernels.c", FOLDER / "lanes.h", FOLDER / "sha256.h")
LIBRARY = FOLDER / ("kernels.dll" if sys.platform == "win32" else "kernels.so")
FLAGS = ("-std=c11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")
PREFERRED = ("cc", "gcc", "clang")


class BuildError(Exception):
    """No compiler, or one that refused; the message is for people."""


def source_digest() -> str:
    """Sixteen digits over the bytes of the sources."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()[:16]


def find_compiler() -> list[str] | None:
    """The compiler's command; None where there is none."""
    if named := os.environ.get("CC"):
        return shlex.split(named)
    return next(([path] for name in PREFERRED if (path := shutil.which(name))), None)


def command(compiler: Sequence[str], output: Path, extra: Sequence[str] = ()) -> list[str]:
    """What is run to make ``output``."""
    digest = f'-DSOURCE_DIGEST="{source_digest()}"'
    return [*compiler, *FLAGS, *extra, digest, "-o", str(output), str(SOURCES[0])]


def build(output: Path = LIBRARY, extra: Sequence[str] = ()) -> Path:
    """Compile, and put the result in place at once; BuildError without a compiler or where it fails."""
    compiler = find_compiler()
    if compiler is None:
        raise BuildError("no C compiler: neither $CC nor cc, gcc or clang; type: apt-get install gcc")
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".build-") as folder:
        made = Path(folder) / output.name
        argv = command(compiler, made, extra)
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
        except OSError as error:
            raise BuildError(f"{compiler[0]}: {error.strerror}") from error
        if done.returncode:
            raise BuildError(f"{shlex.join(argv)} ended with status {done.returncode}:\n{done.stderr}")
        made.replace(output)
    return output


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile the codecs' kernels")
    parser.add_argument("--if-possible", action="store_true", help="end with status 0 where no compiler works")
    parser.add_argument("--output", type=Path, default=LIBRARY, help="the library's file")
    arguments = parser.parse_args()
    try:
        print(build(arguments.output))
    except BuildError as error:
        print(f"kernels not built, the codecs will use NumPy: {error}", file=sys.stderr)
        return 0 if arguments.if_possible else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

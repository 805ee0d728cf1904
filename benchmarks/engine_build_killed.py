"""A build of some GB that is killed at random moments and meets a full disk, and ends verified all the same.

    PYTHONPATH=. python benchmarks/engine_build_killed.py

Generates the checkpoint of ``engine_build.py`` and builds its MXFP4 bundle: once with a limit on the size of files
that stands for a full disk, which must end in one line; then killed with SIGKILL ``--kills`` times, each after a
random part of an undisturbed build's time. No kill may leave a bundle that does not check, and what was finished must
be taken over. The last build is left alone, its bundle checked and compared file by file with that of the undisturbed
one.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engine_build import ROOT, command, generate

from toolkit.engine.bundle import Bundle

KIND = "mxfp4"


def run(argv: list[str], **options: object) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(argv, env=environment, **pipes, **options)  # type: ignore[call-overload, no-any-return]


def contents(output: Path) -> dict[str, str]:
    return {name: entry["sha256"] for name, entry in Bundle.open(output).manifest["files"].items()}


def fill_the_disk(argv: list[str], output: Path) -> None:
    limit = 1 << 30
    process = run(argv, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    out, error = process.communicate()
    if process.returncode != 1 or error.count("\n") != 1 or output.exists():
        raise SystemExit(f"a full disk: status {process.returncode}, {out}{error}")
    print(f"full disk   {error.strip()}")


def kill(argv: list[str], output: Path, after: float) -> bool:
    """Whether it was still at work."""
    process = run(argv)
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if output.exists():
            Bundle.open(output).check()
        return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description="A large build that is killed at random moments")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="Folder for some 12 GB; by default the temporary directory")
    arguments = parser.parse_args()
    chance, kills = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory(prefix="trtkit-killed-", dir=arguments.work) as folder:
        work = Path(folder)
        generate(work / "source", arguments.layers)
        argv, output = command(work, KIND), work / KIND
        begin = time.monotonic()
        if run(argv).wait() != 0:
            raise SystemExit("the undisturbed build failed")
        whole, wanted = time.monotonic() - begin, contents(output)
        nbytes = Bundle.open(output).nbytes
        shutil.rmtree(output)
        fill_the_disk(argv, output)
        while kills < arguments.kills:
            after = whole * chance.uniform(0.05, 0.95)
            if kill(argv, output, after):
                kills += 1
                print(f"kill {kills:<6} after {after:.1f} s of {whole:.1f} s", flush=True)
            else:
                shutil.rmtree(output)
        last = run([*argv, "--json"])
        out, error = last.communicate()
        if last.returncode:
            raise SystemExit(error)
        bundle = Bundle.open(output)
        bundle.check()
        same = {name for name, digest in contents(output).items() if wanted.get(name) == digest}
        differing = set(wanted) - same - {"recipe.yaml"}
        reused = json.loads(out)["reused_shards"]
        left = sorted(path.name for path in work.iterdir() if path.name not in ("source", KIND))
    sound = not differing and not left
    print(f"end         {nbytes:,} bytes verified, {reused} shard(s) reused, differing {differing}, left over {left}")
    print(json.dumps({"benchmark": "build_killed", "bytes": nbytes, "kills": kills, "reused": reused, "sound": sound}))
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())

"""``trtllm-build`` is a stand-in here: a shell script that does with its flags what the tool says of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine.building import B200, partial_of, run
from toolkit.engine.build import Built
from toolkit.errors import BundleError

COMPILED = (*B200, "target.backend=tensorrt", "engine.max_seq_len=256")
STAND_IN = """#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in
    --checkpoint_dir) checkpoint=$2 ;;
    --output_dir) output=$2 ;;
    --input_timing_cache) input=$2 ;;
    --output_timing_cache) cache=$2 ;;
  esac
  shift 2
done
echo "[TRT-LLM] [I] Start"
[ -n "$FAIL" ] && echo "[TRT] [E] Cannot determine size of FP4 data type" >&2 && exit 3
[ -n "$HOLD" ] && : > "$HOLD" && exec sleep 60
[ -n "$EMPTY" ] && exit 0
cat "$checkpoint/config.json" "$checkpoint/rank0.safetensors" > "$output/rank0.engine"
cp "$checkpoint/config.json" "$output/config.json"
{ [ -n "$input" ] && cat "$input"; echo tactic; } > "$output/cache.tmp"
mv "$output/cache.tmp" "$cache"
"""


@pytest.fixture
def source(shared_fixtures: Path) -> Path:
    return shared_fixtures / "tiny-llama-nvfp4-modelopt-0.37"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin" / "trtllm-build"
    path.parent.mkdir()
    path.write_text(STAND_IN)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    return path


def compile_(root: Path, source: Path, output: Path, *overrides: str) -> Built:
    return run(root, output, *COMPILED, f"checkpoint.path={source}", *overrides)


def test_the_engine_is_compiled_where_the_tool_is(root: Path, source: Path, tool: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    bundle = compile_(root, source, output).bundle
    bundle.check()
    checkpoint = bundle.checkpoint_dir
    config = (checkpoint / "config.json").read_bytes()
    assert (output / "engine" / "rank0.engine").read_bytes() == config + (checkpoint / "rank0.safetensors").read_bytes()
    assert (output / "engine-build.log").read_text() == "[TRT-LLM] [I] Start\n"
    assert (output / "timing.cache").read_text() == "tactic\n"
    engine = bundle.manifest["engine"]
    assert engine.pop("command").startswith(f"trtllm-build --checkpoint_dir {output}/checkpoint --output_dir {output}/")
    assert engine == {"compiled": True, "log": "engine-build.log", "timing_cache": "timing.cache"}
    assert {"engine/rank0.engine", "engine/config.json", "engine-build.log"} < set(bundle.manifest["files"])
    assert not compile_(root, source, output).made


def test_another_limit_compiles_again_with_the_timing_cache(
    root: Path, source: Path, tool: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    compile_(root, source, output)
    built = compile_(root, source, output, "engine.max_batch_size=4")
    assert (built.made, built.reused) == (True, 1)
    assert (output / "timing.cache").read_text() == "tactic\ntactic\n"
    built.bundle.check()


def test_without_the_tool_the_bundle_says_what_to_type(root: Path, source: Path, tool: Path, tmp_path: Path) -> None:
    output, elsewhere = tmp_path / "out", tool.rename(tmp_path / "elsewhere")
    bundle = compile_(root, source, output).bundle
    assert sorted(path.name for path in output.iterdir()) == ["checkpoint", "engine.json", "recipe.yaml"]
    engine = bundle.manifest["engine"]
    assert (engine["compiled"], engine["log"], engine["timing_cache"]) == (False, None, None)
    assert not compile_(root, source, output).made
    elsewhere.rename(tool)
    built = compile_(root, source, output)
    assert (built.made, built.reused) == (True, 1), "the checkpoint is taken over, and compiled now"
    assert built.bundle.manifest["engine"]["compiled"]
    built.bundle.check()


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("FAIL", "trtllm-build ended with status 3: [TRT] [E] Cannot determine size of FP4 data type"),
        ("EMPTY", "trtllm-build wrote no engine: [TRT-LLM] [I] Start"),
    ],
)
def test_a_tool_that_fails_leaves_the_checkpoint_for_the_next_build(
    root: Path, source: Path, tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, said: str
) -> None:
    output = tmp_path / "out"
    log = partial_of(output) / "engine-build.log"
    with monkeypatch.context() as patch:
        patch.setenv(variable, "1")
        with pytest.raises(BundleError) as caught:
            compile_(root, source, output)
    hint = "Read that log; the next build goes on from here. Or set target.backend=pytorch"
    assert str(caught.value) == f"{log}: {said}. {hint}"
    assert log.read_text().startswith("[TRT-LLM] [I] Start\n")
    assert not output.exists()
    built = compile_(root, source, output)
    assert (built.made, built.reused) == (True, 1)
    built.bundle.check()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "out"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_second_build_while_the_tool_of_a_killed_one_runs(
    root: Path, source: Path, tool: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C ends the tool, too. After kill -9 it lives on and holds the lock until it ends."""
    output, held = tmp_path / "out", tmp_path / "held"
    argv = [sys.executable, "-c", "from toolkit.cli import main; main()", "engine"]
    argv.append(str(root / "recipes/tiny-gpt-oss/cpu.yaml"))
    for override in (*COMPILED, f"checkpoint.path={source}", f"engine.output={output}"):
        argv += ["--set", override]
    process = subprocess.Popen(
        argv,
        env={**os.environ, "PYTHONPATH": str(root), "HOLD": str(held)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not held.exists():
        assert process.poll() is None
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    process.send_signal(number)
    process.wait()
    if number == signal.SIGKILL:
        with pytest.raises(BundleError, match="another build is at work there"):
            compile_(root, source, output)
        os.kill(int(children[0]), signal.SIGKILL)
        while Path(f"/proc/{children[0]}").exists() and "Z" not in _state(children[0]):
            time.sleep(0.02)
    assert not Path(f"/proc/{children[0]}").exists() or "Z" in _state(children[0])
    compile_(root, source, output).bundle.check()
    assert not list(tmp_path.glob(".out*"))


def _state(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except FileNotFoundError:
        return "Z"

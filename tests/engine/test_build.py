from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from toolkit import recipe as recipes
from toolkit.checkpoint.census import take_census
from toolkit.checkpoint.files import sha256_file
from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.build import Built, build
from toolkit.engine.bundle import Bundle
from toolkit.errors import BundleError, PlanError
from toolkit.plan import make_plan

B200 = ("target.runtime=tensorrt-llm", "target.release=1.2.1", "target.gpu=b200")
E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6)


def run(root: Path, output: Path, *overrides: str, progress: object = None) -> Built:
    recipe = recipes.load(root / "recipes/tiny-gpt-oss/cpu.yaml", (f"engine.output={output}", *overrides))
    assert recipe.checkpoint.path is not None
    with Checkpoint.open(recipe.checkpoint.path) as source:
        plan = make_plan(recipe, take_census(source))
        return build(recipe, plan, source, progress or (lambda done, total: None))  # type: ignore[arg-type]


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_cpu_bundle_holds_the_source_files_byte_for_byte(root: Path, sample: Path, tmp_path: Path) -> None:
    built = run(root, tmp_path / "out")
    assert built.made
    source, made = tree(sample), tree(built.bundle.checkpoint_dir)
    assert made == {name: digest for name, digest in source.items() if name in made}
    assert set(source) - set(made) <= {"SHA256SUMS", "README.md", ".gitattributes"}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["checkpoint", "engine.json", "recipe.yaml"]
    assert not (tmp_path / "out.partial").exists()
    built.bundle.check()


def test_manifest(root: Path, sample: Path, tmp_path: Path) -> None:
    manifest = run(root, tmp_path / "out", *B200).bundle.manifest
    tensors = len(read_raw(sample))
    assert manifest["verified"] == {"keep": tensors - 16 * 6, "dequantize": 24, "drop": 72}
    assert len(manifest["actions"]) == tensors
    assert manifest["source"]["files"] == {
        path.name: {"sha256": sha256_file(path)} for path in [*sample.glob("*.safetensors"), sample / "config.json"]
    }
    files = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    assert {**files, "engine.json": sha256_file(tmp_path / "out" / "engine.json")} == tree(tmp_path / "out")
    assert manifest["versions"]["trtkit"]
    assert manifest["target"]["gpu"] == "b200"


def decode(packed: np.ndarray, scale: np.ndarray, global_scale: np.ndarray) -> np.ndarray:
    """NVFP4 [o, K/2] written out: value = E2M1 · fl32(E4M3 · global), then BF16 by rounding to nearest even."""
    import ml_dtypes

    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(packed.shape[0], -1)
    factors = (scale.view(ml_dtypes.float8_e4m3fn).astype(np.float32) * global_scale).repeat(16, axis=1)
    return (np.array(E2M1, np.float32)[codes] * factors).astype(ml_dtypes.bfloat16)


def read_raw(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor by the toolkit-independent parts of the format: JSON header and offsets."""
    kinds = {"BF16": np.uint16, "U8": np.uint8, "F8_E4M3": np.uint8, "F32": np.float32}
    out = {}
    for path in folder.glob("*.safetensors"):
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8 : 8 + size]).items():
            if name != "__metadata__":
                begin, end = (8 + size + offset for offset in entry["data_offsets"])
                out[name] = np.frombuffer(data[begin:end], kinds[entry["dtype"]]).reshape(entry["shape"])
    return out


def test_b200_bundle_against_an_independent_decoder(root: Path, sample: Path, tmp_path: Path) -> None:
    bundle = run(root, tmp_path / "out", *B200).bundle
    source, made = read_raw(sample), read_raw(bundle.checkpoint_dir)
    dequantised = [name for name in made if "self_attn" in name and name.endswith("proj.weight")]
    assert len(dequantised) == 24
    for name, tensor in made.items():
        if name in dequantised:
            wanted = decode(source[name], source[f"{name}_scale"], source[f"{name}_scale_2"])
            assert np.array_equal(tensor, wanted.view(np.uint16)), name
        else:
            assert tensor.dtype == source[name].dtype
            assert tensor.tobytes() == source[name].tobytes(), name
    assert set(source) - set(made) == {
        f"{name.removesuffix('weight')}{scale}"
        for name in dequantised
        for scale in ("weight_scale", "weight_scale_2", "input_scale")
    }
    index = json.loads((bundle.checkpoint_dir / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(made)
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in made.values())
    assert yaml.safe_load((bundle.folder / "llm_args.yaml").read_text())["moe_config"] == {"backend": "TRTLLM"}


def test_b200_experts_equal_modelopts_own_mlp_only_export(root: Path, shared_fixtures: Path, tmp_path: Path) -> None:
    source = shared_fixtures / "tiny-gpt-oss-nvfp4-sharded-modelopt-0.37"
    wanted = read_raw(shared_fixtures / "tiny-gpt-oss-nvfp4-mlponly-modelopt-0.37")
    bundle = run(root, tmp_path / "out", *B200, f"checkpoint.path={source}").bundle
    made = read_raw(bundle.checkpoint_dir)
    assert {n: (t.dtype, t.shape) for n, t in made.items()} == {n: (t.dtype, t.shape) for n, t in wanted.items()}
    for name, tensor in wanted.items():
        if not name.endswith("_proj.weight") or "self_attn" not in name:
            assert made[name].tobytes() == tensor.tobytes(), name


def test_building_again_does_nothing_and_a_change_rebuilds(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(root, output)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert not run(root, output).made
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    assert run(root, output, "engine.precision=w4a4").made
    assert Bundle.open(output).recipe.engine.precision == "w4a4"
    assert not (tmp_path / "out.old").exists()


def test_a_damaged_bundle_is_found_and_rebuilt(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    bundle = run(root, output).bundle
    shard = next(bundle.checkpoint_dir.glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(BundleError, match=rf"{shard.name} is not what was built"):
        Bundle.open(output).check()
    shard.unlink()
    with pytest.raises(BundleError, match=rf"{shard.name} is missing. Delete"):
        Bundle.open(output)
    assert run(root, output).made
    Bundle.open(output).check()


class Crash(BaseException):
    """Stands for the process ending: nothing of ours catches it."""


@pytest.mark.parametrize("moment", [0, 0.15, 0.3, 0.45, 0.55, 0.7, 0.85, 1])
def test_a_build_cut_short_anywhere_continues(root: Path, sample: Path, tmp_path: Path, moment: float) -> None:
    output = tmp_path / "out"

    def crash_at_moment(done: int, total: int) -> None:
        if done >= moment * total:
            raise Crash

    with pytest.raises(Crash):
        run(root, output, *B200, progress=crash_at_moment)
    with pytest.raises(BundleError, match="there is no engine bundle"):
        Bundle.open(output)
    built = run(root, output, *B200)
    built.bundle.check()
    assert built.resumed <= len(list(sample.glob("*.safetensors")))
    clean = run(root, tmp_path / "clean", *B200)
    assert tree(built.bundle.checkpoint_dir) == tree(clean.bundle.checkpoint_dir)


def test_finished_shards_are_kept_after_a_crash(root: Path, sample: Path, tmp_path: Path) -> None:
    shards = sorted(path.name for path in sample.glob("*.safetensors"))
    output, partial = tmp_path / "out", tmp_path / "out.partial" / "checkpoint"

    def crash_after_first_shard(done: int, total: int) -> None:
        if (partial / shards[0]).exists():
            raise Crash

    with pytest.raises(Crash):
        run(root, output, *B200, progress=crash_after_first_shard)
    inode = (partial / shards[0]).stat().st_ino
    built = run(root, output, *B200)
    assert built.resumed == 1
    assert (built.bundle.checkpoint_dir / shards[0]).stat().st_ino == inode


def test_a_tampered_unfinished_shard_fails_verification(root: Path, sample: Path, tmp_path: Path) -> None:
    shards = sorted(path.name for path in sample.glob("*.safetensors"))
    partial = tmp_path / "out.partial" / "checkpoint"

    def tamper(done: int, total: int) -> None:
        if (partial / shards[-1]).exists() and done < total * 0.6:
            with (partial / shards[0]).open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"\x55")

    with pytest.raises(BundleError, match=r"differs from its source at byte \d+ or after. Build again"):
        run(root, tmp_path / "out", *B200, progress=tamper)
    assert not (tmp_path / "out").exists()


def test_kill_9_at_a_random_moment_ten_times(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    argv = [sys.executable, "-c", "from toolkit.cli import main; main()", "engine"]
    argv += [str(root / "recipes/tiny-gpt-oss/cpu.yaml"), "--set", f"engine.output={output}"]
    for override in B200:
        argv += ["--set", override]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    begin = time.monotonic()
    subprocess.run(argv, env=environment, check=True, capture_output=True)
    whole = time.monotonic() - begin
    wanted = tree(output / "checkpoint")
    chance = random.Random(20)
    for _ in range(10):
        shutil.rmtree(output)
        process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=whole * chance.uniform(0.3, 1.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            if output.exists():
                Bundle.open(output).check()
        subprocess.run(argv, env=environment, check=True, capture_output=True)
        Bundle.open(output).check()
        assert tree(output / "checkpoint") == wanted


def test_refusals(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.txt").write_text("mine")
    with pytest.raises(BundleError) as caught:
        run(root, output)
    assert str(caught.value) == f"{output}: the folder is not an engine bundle. Set engine.output to another folder"
    assert (output / "thesis.txt").read_text() == "mine"
    with pytest.raises(PlanError, match="no MoE backend"):
        run(root, tmp_path / "other", *B200, "target.gpu=rtx-5090")
    assert not (tmp_path / "other").exists()


def test_two_builds_of_one_folder(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"

    def build_again(done: int, total: int) -> None:
        with pytest.raises(BundleError, match="another build is at work there"):
            run(root, output)

    assert run(root, output, progress=build_again).made


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "{path}/engine.json: the manifest is damaged. Delete {path} and type: trtkit engine RECIPE"),
        (
            '{"schema_version": 9, "files": {}}',
            "{path}/engine.json: the manifest has schema 9, not 1. Delete {path} and type: trtkit engine RECIPE",
        ),
    ],
)
def test_manifests_that_cannot_be_read(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "engine.json").write_text(content)
    with pytest.raises(BundleError) as caught:
        Bundle.open(tmp_path)
    assert str(caught.value) == expected.format(path=tmp_path)

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    built.bundle.check()


def test_manifest(root: Path, sample: Path, tmp_path: Path) -> None:
    manifest = run(root, tmp_path / "out", *B200).bundle.manifest
    tensors = len(read_raw(sample))
    assert manifest["verified"] == {"keep": tensors - 16 * 6, "dequantize": 24, "drop": 72}
    assert len(manifest["actions"]) == tensors
    assert manifest["source"]["files"] == {path.name: {"sha256": sha256_file(path)} for path in sample.iterdir()}
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
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


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


def partial_of(output: Path) -> Path:
    return output.with_name(f".{output.name}.trtkit-partial")


def crash_after_first_shard(output: Path, shard: str) -> Callable[[int, int], None]:
    def crash(done: int, total: int) -> None:
        if (partial_of(output) / "checkpoint" / shard).exists():
            raise Crash

    return crash


@pytest.fixture
def shards(sample: Path) -> list[str]:
    return sorted(path.name for path in sample.glob("*.safetensors"))


@pytest.fixture
def interrupted(root: Path, tmp_path: Path, shards: list[str]) -> Path:
    """An output whose build for B200 ended after the first shard."""
    output = tmp_path / "out"
    with pytest.raises(Crash):
        run(root, output, *B200, progress=crash_after_first_shard(output, shards[0]))
    return output


def test_finished_shards_are_kept_after_a_crash(root: Path, interrupted: Path, shards: list[str]) -> None:
    inode = (partial_of(interrupted) / "checkpoint" / shards[0]).stat().st_ino
    built = run(root, interrupted, *B200)
    assert built.reused == 1
    assert (built.bundle.checkpoint_dir / shards[0]).stat().st_ino == inode


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_finished_shard_that_was_damaged_is_written_again(
    root: Path, interrupted: Path, shards: list[str], tmp_path: Path, damage: str
) -> None:
    shard = partial_of(interrupted) / "checkpoint" / shards[0]
    data = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    else:
        shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage == "flip" else data[:-100])
    built = run(root, interrupted, *B200)
    assert built.reused == 0
    assert tree(built.bundle.checkpoint_dir) == tree(run(root, tmp_path / "clean", *B200).bundle.checkpoint_dir)


@pytest.mark.parametrize("journal", ["{", "{}", "[1]", '{"weights": 3, "finished": 4}'])
def test_a_garbled_journal_starts_the_build_over(root: Path, interrupted: Path, journal: str) -> None:
    (partial_of(interrupted) / "build.json").write_text(journal)
    built = run(root, interrupted, *B200)
    assert built.reused == 0
    built.bundle.check()


def test_what_does_not_belong_into_the_bundle_does_not_get_there(root: Path, interrupted: Path) -> None:
    (partial_of(interrupted) / "checkpoint" / "model-99999.safetensors").write_bytes(b"junk")
    (partial_of(interrupted) / "engine.json.tmp").write_bytes(b"{")
    bundle = run(root, interrupted, *B200).bundle
    bundle.check()
    assert "model-99999.safetensors" not in [path.name for path in bundle.folder.rglob("*")]


def test_check_finds_what_was_added_later(root: Path, tmp_path: Path) -> None:
    bundle = run(root, tmp_path / "out").bundle
    (bundle.checkpoint_dir / "extra.safetensors").write_bytes(b"junk")
    with pytest.raises(BundleError, match=r"checkpoint/extra.safetensors was not built"):
        bundle.check()


def crash_at(call: int, root: Path, output: Path, overrides: tuple[str, ...]) -> bool:
    """Build in a forked process that dies at the n-th change to the disk; False if there are fewer."""
    pid = os.fork()
    if pid == 0:
        left = call

        def dying(function: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os._exit(9)
                return function(*args, **kwargs)

            return wrapper

        for owner, name in (
            (os, "fsync"),
            (os, "rename"),
            (os, "replace"),
            (os, "unlink"),
            (os, "link"),
            (os, "rmdir"),
        ):
            setattr(owner, name, dying(getattr(owner, name)))
        try:
            run(root, output, *overrides)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 9


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("replacing", [False, True], ids=["new", "replacing"])
def test_a_process_that_dies_at_any_change_to_the_disk(root: Path, tmp_path: Path, replacing: bool) -> None:
    """Before: no bundle or the old one. After one more build: the new one, whole."""
    wanted = tree(run(root, tmp_path / "clean", *B200).bundle.checkpoint_dir)
    output = tmp_path / "out"
    call, step = 0, 4
    while True:
        shutil.rmtree(output, ignore_errors=True)
        if replacing:
            run(root, output)
        if not crash_at(call, root, output, B200):
            break
        if output.exists():
            Bundle.open(output).check()
        built = run(root, output, *B200)
        built.bundle.check()
        assert tree(built.bundle.checkpoint_dir) == wanted
        assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "out"], f"call {call}"
        call += step
    assert call > 30, "the crashes were inside the build"


def test_a_verified_build_that_was_not_put_in_place_is_not_made_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"

    def crash(self: Path, target: Path) -> Path:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crash)
        with pytest.raises(Crash):
            run(root, output)
    inodes = {path.name: path.stat().st_ino for path in (partial_of(output) / "checkpoint").iterdir()}
    assert run(root, output).made
    assert {path.name: path.stat().st_ino for path in (output / "checkpoint").iterdir()} == inodes


def test_folders_with_similar_names_are_left_alone(root: Path, tmp_path: Path) -> None:
    for name in ("out.old", "out.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("mine")
    run(root, tmp_path / "out")
    run(root, tmp_path / "out", *B200)
    for name in ("out.old", "out.partial"):
        assert (tmp_path / name / "thesis.txt").read_text() == "mine"


def copy_of(sample: Path, folder: Path) -> Path:
    shutil.copytree(sample, folder)
    return folder


@pytest.mark.parametrize("file", ["generation_config.json", "tokenizer_config.json", "hf_quant_config.json"])
def test_a_changed_small_file_is_noticed(root: Path, sample: Path, tmp_path: Path, file: str) -> None:
    source = copy_of(sample, tmp_path / "source")
    overrides = (f"checkpoint.path={source}",)
    run(root, tmp_path / "out", *overrides)
    text = (source / file).read_text()
    (source / file).write_text(text + "\n")
    built = run(root, tmp_path / "out", *overrides)
    assert built.made
    assert (built.bundle.checkpoint_dir / file).read_text() == text + "\n"
    assert built.bundle.manifest["source"]["files"][file]["sha256"] == sha256_file(source / file)


def test_a_changed_shard_is_noticed(root: Path, sample: Path, shards: list[str], tmp_path: Path) -> None:
    source = copy_of(sample, tmp_path / "source")
    overrides = (f"checkpoint.path={source}",)
    run(root, tmp_path / "out", *overrides)
    with (source / shards[1]).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    built = run(root, tmp_path / "out", *overrides)
    assert (built.made, built.reused) == (True, 0)
    assert sha256_file(built.bundle.checkpoint_dir / shards[1]) == sha256_file(source / shards[1])


def test_another_limit_takes_the_shards_over(root: Path, shards: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(root, output, *B200)
    inodes = [(output / "checkpoint" / name).stat().st_ino for name in shards]
    built = run(root, output, *B200, "engine.max_batch_size=4")
    assert (built.made, built.reused) == (True, len(shards))
    assert [(output / "checkpoint" / name).stat().st_ino for name in shards] == inodes
    assert yaml.safe_load((output / "llm_args.yaml").read_text())["max_batch_size"] == 4
    built.bundle.check()


def test_a_source_that_changes_meanwhile(root: Path, sample: Path, shards: list[str], tmp_path: Path) -> None:
    source = copy_of(sample, tmp_path / "source")

    def change(done: int, total: int) -> None:
        if done >= total:
            os.utime(source / shards[0], ns=(0, 0))

    with pytest.raises(BundleError, match=r"source: the source changed while it was read. Build again"):
        run(root, tmp_path / "out", f"checkpoint.path={source}", progress=change)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_link(root: Path, tmp_path: Path) -> None:
    real = tmp_path / "disk" / "real"
    real.parent.mkdir()
    link = tmp_path / "link"
    link.symlink_to(real)
    for overrides in ((), B200):
        assert run(root, link, *overrides).made
        assert link.is_symlink()
        Bundle.open(real).check()
    assert [path.name for path in real.parent.iterdir()] == ["real"]


def test_a_source_inside_the_output_is_kept(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    before = tree(run(root, output).bundle.folder)
    with pytest.raises(BundleError, match=r"out: the source .*out/checkpoint stands inside the output"):
        run(root, output, *B200, f"checkpoint.path={output / 'checkpoint'}")
    assert tree(output) == before


@pytest.mark.parametrize("output", ["/", "."])
def test_outputs_that_cannot_be(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    (tmp_path / "mine").write_text("mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"cannot be a bundle's folder|not an engine bundle"):
        run(root, Path(output))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_full_disk_is_one_error_and_the_build_goes_on_later(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(BundleError) as caught:
            run(root, output, *B200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot build: File too large. The bundle needs 6,355,152 bytes in" in str(caught.value)
    assert not output.exists()
    run(root, output, *B200).bundle.check()


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
    killed = 0
    while killed < 10:
        shutil.rmtree(output, ignore_errors=True)
        process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=whole * chance.uniform(0.3, 1.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
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
    wanted = f"{output}: this is not an engine bundle, so it is left alone. Set engine.output to another folder"
    assert str(caught.value) == wanted
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
        ("[]", "{path}/engine.json: the manifest is damaged. Delete {path} and type: trtkit engine RECIPE"),
        (
            '{"schema_version": 1, "files": {}}',
            "{path}/engine.json: the manifest is damaged. Delete {path} and type: trtkit engine RECIPE",
        ),
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


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("engine.max_seq_len=64", "engine.max_seq_len"),
        ("checkpoint.path=/elsewhere", "checkpoint.path"),
        ("target.release=1.2.1", "target.release"),
    ],
)
def test_a_recipe_opens_only_the_bundle_built_from_it(root: Path, tmp_path: Path, override: str, named: str) -> None:
    output = tmp_path / "out"
    run(root, output)
    path = root / "recipes/tiny-gpt-oss/cpu.yaml"
    assert Bundle.open_for(recipes.load(path, (f"engine.output={output}", "serve.grpc_port=1"))).folder == output
    with pytest.raises(BundleError) as caught:
        Bundle.open_for(recipes.load(path, (f"engine.output={output}", override)))
    hint = "Type: trtkit engine RECIPE, with the same --set"
    assert str(caught.value) == f"{output}: it was built with another {named} than the recipe's. {hint}"

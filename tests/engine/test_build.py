from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.engine.building import B200, run, tree
from toolkit.checkpoint.files import sha256_file
from toolkit.engine.bundle import Bundle
from toolkit.errors import BundleError

E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6)


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


def test_check_finds_what_was_added_later(root: Path, tmp_path: Path) -> None:
    bundle = run(root, tmp_path / "out").bundle
    (bundle.checkpoint_dir / "extra.safetensors").write_bytes(b"junk")
    with pytest.raises(BundleError, match=r"checkpoint/extra.safetensors was not built"):
        bundle.check()

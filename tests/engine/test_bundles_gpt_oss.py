"""gpt-oss bundles against what their loader makes of them, and against checkpoints that others made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.engine.building import B200, run
from tests.engine.oracle import (
    Arrays,
    arrays,
    bf16,
    bf16_bits,
    broken_by_0_35,
    dense,
    mxfp4_of,
    nvfp4,
    tensors_in,
)

DEFAULT, MLP_ONLY = "tiny-gpt-oss-nvfp4-modelopt-0.37", "tiny-gpt-oss-nvfp4-mlponly-modelopt-0.37"
SHARDED, BF16 = "tiny-gpt-oss-nvfp4-sharded-modelopt-0.37", "tiny-gpt-oss-bf16"
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 32
H200 = (*B200, "target.gpu=h200")


def bundle_of(root: Path, source: Path, output: Path, *overrides: str) -> tuple[dict, dict]:
    """Tensors and manifest."""
    built = run(root, output, f"checkpoint.path={source}", *overrides)
    built.bundle.check()
    return tensors_in(built.bundle.checkpoint_dir), built.bundle.manifest


def load_moe(tensors: dict, layer: int, tp: int, ep: int, rank: int) -> Arrays:
    """One rank's experts as TensorRT-LLM's ``load_nvfp4_weights`` takes them (facts of its ``modeling_gpt_oss.py``).

    Names, dtypes and shapes are those that it asks for. gate/up columns are de-interleaved, weights and scales
    transposed to [out, in], biases made FP32. Ranks share experts out (ep), then rows of w1 and w3 and columns of w2.
    """
    prefix = f"model.layers.{layer}.mlp.experts."
    wanted = {
        "gate_up_proj": ("U8", (4, 32, 192)),
        "gate_up_proj_weight_scale": ("F8_E4M3", (4, 4, 192)),
        "gate_up_proj_bias": ("BF16", (4, 192)),
        "down_proj": ("U8", (4, 48, 64)),
        "down_proj_weight_scale": ("F8_E4M3", (4, 6, 64)),
        "down_proj_bias": ("BF16", (4, 64)),
        **{f"{p}_{s}": ("F32", ()) for p in ("gate_up_proj", "down_proj") for s in ("weight_scale_2", "input_scale")},
    }
    found = {name: tensors[prefix + name] for name in wanted}
    assert {name: (dtype, array.shape) for name, (dtype, array) in found.items()} == wanted
    assert {name for name in tensors if name.startswith(prefix)} == {prefix + name for name in wanted}
    moe_tp, moe_rank = tp // ep, rank % (tp // ep)
    experts = slice(4 // ep * (rank // moe_tp), 4 // ep * (rank // moe_tp + 1))
    weights: Arrays = {}
    for name, suffix in (("", ""), ("_weight_scale", "_scale")):
        gate_up, down = found[f"gate_up_proj{name}"][1][experts], found[f"down_proj{name}"][1][experts]
        both = np.concatenate([gate_up[..., ::2], gate_up[..., 1::2]], axis=-1).swapaxes(1, 2)
        w1, w3 = np.split(both, 2, axis=1)
        weights[f"w1{suffix}"] = np.split(w1, moe_tp, axis=1)[moe_rank]
        weights[f"w3{suffix}"] = np.split(w3, moe_tp, axis=1)[moe_rank]
        weights[f"w2{suffix}"] = np.split(down.swapaxes(1, 2), moe_tp, axis=2)[moe_rank]
    bias = bf16(found["gate_up_proj_bias"][1][experts])
    weights["b1"], weights["b3"] = (np.split(bias[:, i::2], moe_tp, axis=1)[moe_rank] for i in (0, 1))
    weights["b2"] = bf16(found["down_proj_bias"][1][experts])
    weights |= {f"{p}_2": found[f"{n}_weight_scale_2"][1] for p, n in (("w13", "gate_up_proj"), ("w2", "down_proj"))}
    return weights


def joined(ranks: list[Arrays], tp: int, ep: int) -> Arrays:
    """The ranks' experts decoded and put together again."""
    moe_tp = tp // ep
    groups = [ranks[begin : begin + moe_tp] for begin in range(0, tp, moe_tp)]
    whole: Arrays = {}
    for name, scalar, axis in (("w1", "w13_2", 1), ("w3", "w13_2", 1), ("w2", "w2_2", 2)):
        parts = [
            np.concatenate([nvfp4(rank[name], rank[f"{name}_scale"], rank[scalar], -1) for rank in group], axis=axis)
            for group in groups
        ]
        whole[name] = np.concatenate(parts)
    for name in ("b1", "b3"):
        whole[name] = np.concatenate([np.concatenate([rank[name] for rank in group], axis=1) for group in groups])
    whole["b2"] = np.concatenate([group[0]["b2"] for group in groups])
    assert all(array.dtype == np.float32 for array in whole.values())
    return whole


@pytest.mark.parametrize(("tp", "ep"), [(1, 1), (2, 1), (2, 2)])
def test_the_loader_gets_the_weights_of_the_source(
    root: Path, shared_fixtures: Path, tmp_path: Path, tp: int, ep: int
) -> None:
    layout = (f"target.parallel.tp={tp}", f"target.parallel.ep={ep}")
    made, _ = bundle_of(root, shared_fixtures / SHARDED, tmp_path / "out", *B200, *layout)
    source = dense(arrays(tensors_in(shared_fixtures / DEFAULT)))
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        whole = joined([load_moe(made, layer, tp, ep, rank) for rank in range(tp)], tp, ep)
        gate_up, down = (source[f"{prefix}mlp.experts.{name}"] for name in ("gate_up_proj", "down_proj"))
        bias = source[f"{prefix}mlp.experts.gate_up_proj_bias"]
        for name, wanted in {
            "w1": gate_up[..., ::2].swapaxes(1, 2),
            "w3": gate_up[..., 1::2].swapaxes(1, 2),
            "w2": down.swapaxes(1, 2),
            "b1": bias[:, ::2],
            "b3": bias[:, 1::2],
            "b2": source[f"{prefix}mlp.experts.down_proj_bias"],
        }.items():
            assert np.array_equal(whole[name], wanted), (layer, name)
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            dtype, bits = made[f"{prefix}self_attn.{name}.weight"]
            assert dtype == "BF16"
            assert np.array_equal(bits, bf16_bits(source[f"{prefix}self_attn.{name}.weight"])), name
            assert made[f"{prefix}self_attn.{name}.bias"][0] == "BF16"
        assert made[f"{prefix}self_attn.sinks"][1].shape == (HEADS,)
    assert not [name for name in made if "self_attn" in name and "scale" in name]


def test_wrong_block_scales_become_modelopts_own(root: Path, shared_fixtures: Path, tmp_path: Path) -> None:
    """The defect of ModelOpt 0.35, repaired with the BF16 model: what ModelOpt 0.37 exported, byte for byte."""
    broken = broken_by_0_35(shared_fixtures / DEFAULT, shared_fixtures / BF16).write(tmp_path / "broken")
    made, manifest = bundle_of(root, broken, tmp_path / "out", f"checkpoint.bf16={shared_fixtures / BF16}")
    wanted = tensors_in(shared_fixtures / DEFAULT)
    assert manifest["verified"]["rescale"] == 4
    assert made.keys() == wanted.keys()
    for name, (dtype, array) in wanted.items():
        assert (made[name][0], made[name][1].tobytes()) == (dtype, array.tobytes()), name


def test_an_mxfp4_bundle_is_as_far_from_its_source_as_it_says(
    root: Path, shared_fixtures: Path, tmp_path: Path
) -> None:
    made, manifest = bundle_of(root, shared_fixtures / SHARDED, tmp_path / "out", *H200)
    source, found = dense(arrays(tensors_in(shared_fixtures / DEFAULT))), dense(arrays(made))
    entries = {entry["tensor"]: entry for entry in manifest["fidelity"]["tensors"]}
    stems = [f"model.layers.{i}.mlp.experts.{name}" for i in range(2) for name in ("gate_up_proj", "down_proj")]
    assert sorted(entries) == sorted(stems)
    total = np.zeros(3)
    for stem in stems:
        old, new = (of[stem].astype(np.float64).swapaxes(1, 2) for of in (source, found))
        blocks_old, blocks_new = old.reshape(-1, 32), new.reshape(-1, 32)
        entry = entries[stem]
        assert entry["kind"] == "transcode"
        assert entry["blocks"] == len(blocks_old)
        assert entry["exact_blocks"] == np.count_nonzero((blocks_old == blocks_new).all(axis=1))
        errors = np.square(new - old).sum(), np.square(old).sum()
        assert entry["relative_rms"] == pytest.approx(np.sqrt(errors[0] / errors[1]), rel=1e-6)
        total += (entry["exact_blocks"], *errors)
        assert brute_force(blocks_old) == pytest.approx(errors[0], rel=1e-9), "no other scale is better"
    totals = manifest["fidelity"]["totals"]["transcode"]
    assert totals["exact_blocks"] == total[0]
    assert totals["relative_rms"] == pytest.approx(np.sqrt(total[1] / total[2]), rel=1e-6)
    assert 0 < totals["relative_rms"] < 0.2
    config = json.loads((tmp_path / "out/checkpoint/config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "mxfp4"


def brute_force(blocks: np.ndarray) -> float:
    """Least squared error over every power of two that could matter, each value to its nearest code."""
    grid = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    errors = []
    for exponent in range(-20, 4):
        magnitude = np.abs(blocks) / 2.0**exponent
        nearest = grid[np.abs(magnitude[..., None] - grid).argmin(axis=-1)]
        errors.append(np.square((magnitude - nearest) * 2.0**exponent).sum(axis=1))
    return float(np.min(errors, axis=0).sum())


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_cast_from_openais_layout_decodes_to_the_same_bits(
    root: Path, shared_fixtures: Path, tmp_path: Path, calibrated: bool
) -> None:
    source = mxfp4_of(shared_fixtures / BF16).write(tmp_path / "mxfp4")
    scales = (f"checkpoint.input_scales={shared_fixtures / DEFAULT}",) if calibrated else ()
    made, manifest = bundle_of(root, source, tmp_path / "out", *B200, "target.weights=nvfp4", *scales)
    wanted, found = dense(arrays(tensors_in(source))), dense(arrays(made))
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert np.array_equal(found[name], values), name
    total = manifest["fidelity"]["totals"]["cast"]
    assert (total["exact_blocks"], total["out_of_range"], total["relative_rms"]) == (total["blocks"], 0, 0.0)
    calibration = arrays(tensors_in(shared_fixtures / DEFAULT))
    for name in [name for name in made if name.endswith("_input_scale")]:
        assert made[name][0] == "F32"
        assert made[name][1] == (calibration[name] if calibrated else 1.0), name
    assert len([name for name in made if name.endswith("_input_scale")]) == 4
    load_moe(made, 0, 1, 1, 0)


def test_a_cast_counts_the_blocks_that_nvfp4_cannot_hold(root: Path, shared_fixtures: Path, tmp_path: Path) -> None:
    variant = mxfp4_of(shared_fixtures / BF16)
    name = "model.layers.1.mlp.experts.down_proj"
    blocks, scales = variant.tensors[f"{name}_blocks"][1].copy(), variant.tensors[f"{name}_scales"][1].copy()
    scales[2, 5, 1] = scales.max() - 20
    blocks[2, 5, 1] = 0x21  # 0.5 and 1 times 2^-3 of the least scale: both are lost
    variant.tensors |= {f"{name}_blocks": ("U8", blocks), f"{name}_scales": ("U8", scales)}
    source = variant.write(tmp_path / "mxfp4")
    made, manifest = bundle_of(root, source, tmp_path / "out", *B200, "target.weights=nvfp4")
    total = manifest["fidelity"]["totals"]["cast"]
    assert (total["out_of_range"], total["blocks"] - total["exact_blocks"]) == (1, 1)
    wanted, found = dense(arrays(tensors_in(source)))[name], dense(arrays(made))[name]
    differing = np.argwhere(wanted != found)
    assert {tuple(place) for place in differing[:, [0, 2]]} == {(2, 5)}
    assert set(differing[:, 1]) == set(range(32, 64))

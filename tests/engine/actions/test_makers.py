"""Every kind of action on small checkpoints, against NumPy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tests.engine.oracle import bf16_bits, mxfp4, nvfp4
from tests.helpers import write_checkpoint
from toolkit.checkpoint.source import Checkpoint
from toolkit.engine import reader as reader_module
from toolkit.engine.actions import MAKERS, jobs_of
from toolkit.engine.ranges import Range, read
from toolkit.engine.reader import Sources
from toolkit.errors import CheckpointError
from toolkit.plan.types import Action, ShardPlan, Slice

RNG = np.random.default_rng(11)
EXPERTS, K, N = 3, 64, 48
Tensors = dict[str, tuple[str, np.ndarray]]


def quantised() -> Tensors:
    scale = RNG.integers(0x20, 0x60, (EXPERTS, K // 16, N), np.uint8)
    linear = RNG.integers(0x20, 0x60, (N, K // 16), np.uint8)
    return {
        "experts": ("U8", RNG.integers(0, 256, (EXPERTS, K // 2, N), np.uint8)),
        "experts_weight_scale": ("F8_E4M3", scale),
        "experts_weight_scale_2": ("F32", np.array(2.0**-7 * 1.1, "<f4")),
        "linear.weight": ("U8", RNG.integers(0, 256, (N, K // 2), np.uint8)),
        "linear.weight_scale": ("F8_E4M3", linear),
        "linear.weight_scale_2": ("F32", np.array(0.013, "<f4")),
        "m_blocks": ("U8", RNG.integers(0, 256, (EXPERTS, N, K // 32, 16), np.uint8)),
        "m_scales": ("U8", RNG.integers(110, 126, (EXPERTS, N, K // 32), np.uint8)),
        "norm": ("BF16", RNG.integers(0, 1 << 15, 40).astype("<u2")),
    }


TENSORS = quantised()


@pytest.fixture(params=[1 << 20, 700], ids=["whole", "in parts"])
def sources(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sources]:
    monkeypatch.setattr(reader_module, "PART", request.param)
    folder, other = tmp_path / "source", tmp_path / "other"
    write_checkpoint(folder, {"model.safetensors": TENSORS}, config={"architectures": ["X"]})
    scales = {"a_input_scale": ("F32", np.array(0.25, "<f4")), "bad_input_scale": ("F32", np.array(0, "<f4"))}
    write_checkpoint(other, {"model.safetensors": scales}, config={"architectures": ["X"]})
    checkpoints = Checkpoint.open(folder), {"input_scales": Checkpoint.open(other)}
    with Sources(*checkpoints) as opened:
        yield opened


def made(sources: Sources, *actions: Action) -> dict[str, bytes]:
    """The outputs' bytes, put together from their pieces, each of which comes once."""
    found: dict[str, dict[int, bytes]] = {}
    for job in jobs_of(ShardPlan("model.safetensors", actions)):
        for piece in MAKERS[job.kind](job, sources):
            data = read(piece.data) if isinstance(piece.data, Range) else piece.data
            pieces = found.setdefault(piece.output, {})
            assert sum(map(len, pieces.values())) == piece.begin
            pieces[piece.begin] = data.tobytes()
    return {name: b"".join(pieces.values()) for name, pieces in found.items()}


def array(name: str) -> np.ndarray:
    return TENSORS[name][1]


def test_moved_bytes(sources: Sources) -> None:
    linear = array("linear.weight")
    actions = (
        Action("keep", ("norm",), "norm", "BF16", (40,)),
        Action("drop", ("m_scales",)),
        Action("relay", ("linear.weight",), "rows", "U8", (16, 32), slices=(Slice(0, 16, 32),)),
        Action("relay", ("linear.weight",), "columns", "U8", (48, 8), slices=(Slice(1, 8, 16),)),
        Action(
            "relay",
            ("linear.weight", "linear.weight"),
            "both",
            "U8",
            (20, 32),
            slices=(Slice(0, 40, 48), Slice(0, 0, 12)),
        ),
        Action("relay", ("linear.weight_scale_2",), "scalar", "F32", (1,), slices=(None,)),
        Action("take", (), "a_input_scale", "F32", (), borrowed=("a_input_scale",), origin="input_scales"),
        Action("fill", (), "filled", "F32", (1,), value=1.0),
    )
    assert made(sources, *actions) == {
        "norm": array("norm").tobytes(),
        "rows": linear[16:32].tobytes(),
        "columns": linear[:, 8:16].tobytes(),
        "both": np.concatenate([linear[40:48], linear[:12]]).tobytes(),
        "scalar": array("linear.weight_scale_2").tobytes(),
        "a_input_scale": np.float32(0.25).tobytes(),
        "filled": np.float32(1).tobytes(),
    }


def test_a_scale_that_no_calibration_gives_is_not_taken(sources: Sources) -> None:
    action = Action("take", (), "x", "F32", (), borrowed=("bad_input_scale",), origin="input_scales")
    with pytest.raises(CheckpointError, match=r"'bad_input_scale': is 0.0, but must be finite and above 0"):
        made(sources, action)


@pytest.mark.parametrize(("stem", "axis"), [("linear.weight", -1), ("experts", -2)])
def test_linears_and_fused_experts_decode(sources: Sources, stem: str, axis: int) -> None:
    join = "_weight_scale" if axis == -2 else "_scale"
    inputs = (stem, f"{stem}{join}", f"{stem}{join}_2")
    values = nvfp4(*(array(name) for name in inputs), axis)
    found = made(sources, Action("dequantize", inputs, stem, "BF16", values.shape))
    assert found == {stem: bf16_bits(values).tobytes()}


TRANSCODED = ("experts", "experts_weight_scale", "experts_weight_scale_2")


def transcode(suffix: str, shape: tuple[int, ...]) -> Action:
    return Action("transcode", TRANSCODED, f"experts{suffix}", "U8", shape)


def test_one_calculation_makes_both_outputs_and_each_alone_is_the_same(sources: Sources) -> None:
    blocks, scales = transcode("_blocks", (EXPERTS, N, 2, 16)), transcode("_scales", (EXPERTS, N, 2))
    between = Action("keep", ("norm",), "norm", "BF16", (40,))
    jobs = list(jobs_of(ShardPlan("f", (blocks, between, scales))))
    assert [job.actions for job in jobs] == [(blocks, scales), (between,)]
    jobs = list(jobs_of(ShardPlan("f", (scales, between, blocks))))
    assert [job.actions for job in jobs] == [(blocks, scales), (between,)], "codes first, whatever the source's order"
    both = made(sources, blocks, scales)
    assert made(sources, blocks) == {"experts_blocks": both["experts_blocks"]}
    assert made(sources, scales) == {"experts_scales": both["experts_scales"]}
    pieces = list(MAKERS["transcode"](jobs[0], sources))
    reports = [piece.report for piece in pieces if piece.report is not None]
    assert len(reports) == len(pieces) / 2
    assert sum(report.blocks for report in reports) == EXPERTS * N * K // 32
    new = mxfp4(*(np.frombuffer(both[a.output], np.uint8).reshape(a.shape) for a in (blocks, scales)))
    old = nvfp4(*(array(name) for name in TRANSCODED), -2).swapaxes(1, 2).astype(np.float64)
    assert sum(report.squared_error for report in reports) == pytest.approx(np.square(new - old).sum(), rel=1e-9)


def test_a_cast_has_three_outputs(sources: Sources) -> None:
    inputs = ("m_blocks", "m_scales")
    packed = Action("cast", inputs, "m", "U8", (EXPERTS, K // 2, N))
    scale = Action("cast", inputs, "m_weight_scale", "F8_E4M3", (EXPERTS, K // 16, N))
    scale_2 = Action("cast", inputs, "m_weight_scale_2", "F32", ())
    jobs = jobs_of(ShardPlan("f", (scale_2, scale, packed)))
    assert [job.actions for job in jobs] == [(scale_2,), (packed, scale)], "each can be written as it is computed"
    found = made(sources, packed, scale, scale_2)
    arrays = [np.frombuffer(found[str(a.output)], np.uint8).reshape(a.shape) for a in (packed, scale)]
    decoded = nvfp4(*arrays, np.frombuffer(found["m_weight_scale_2"], "<f4")[0], -2)
    assert np.array_equal(decoded, mxfp4(array("m_blocks"), array("m_scales")).swapaxes(1, 2))
    assert made(sources, scale_2) == {"m_weight_scale_2": found["m_weight_scale_2"]}


def test_a_codec_s_error_names_the_tensor(sources: Sources) -> None:
    action = Action("transcode", ("experts", "linear.weight_scale", TRANSCODED[2]), "experts_blocks", "U8", ())
    with pytest.raises(CheckpointError, match=r"model.safetensors, tensor 'experts': NVFP4 block scales of shape"):
        made(sources, action)


@pytest.fixture
def rescaled(tmp_path: Path) -> Iterator[tuple[Sources, np.ndarray]]:
    """Codes as ModelOpt writes them of BF16 weights, their scales lost; and what the scales were."""
    weight = (RNG.standard_normal((EXPERTS, K, N)) / 8).astype(ml_dtypes.bfloat16)
    values = weight.astype(np.float32)
    scale_2 = np.float32(np.abs(values).max() / np.float32(2688))
    blocks = values.reshape(EXPERTS, K // 16, 16, N)
    scale = (np.abs(blocks).max(axis=2) / (np.float32(6) * scale_2)).astype(ml_dtypes.float8_e4m3fn)
    scaled = np.abs(blocks / (scale.astype(np.float32) * scale_2)[:, :, None])
    bounds = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5], np.float32)
    code = (scaled[..., None] > bounds).sum(axis=-1) + np.isin(scaled, (0.75, 1.75, 3.5)) + 8 * (blocks < 0)
    nibble = code.astype(np.uint8).reshape(EXPERTS, K, N)
    tensors: Tensors = {
        "w": ("U8", nibble[:, ::2] | nibble[:, 1::2] << 4),
        "w_weight_scale_2": ("F32", np.array(scale_2, "<f4")),
    }
    write_checkpoint(tmp_path / "s", {"model.safetensors": tensors}, config={"architectures": ["X"]})
    bits = {"w": ("BF16", weight.view(np.uint16))}
    write_checkpoint(tmp_path / "bf16", {"model.safetensors": bits}, config={"architectures": ["X"]})
    with Sources(Checkpoint.open(tmp_path / "s"), {"bf16": Checkpoint.open(tmp_path / "bf16")}) as opened:
        yield opened, scale.view(np.uint8)


RESCALE = Action(
    "rescale",
    ("w", "w_weight_scale_2"),
    "w_weight_scale",
    "F8_E4M3",
    (EXPERTS, K // 16, N),
    borrowed=("w",),
    origin="bf16",
)


@pytest.mark.parametrize("nbytes", [1 << 20, 1000])
def test_block_scales_from_the_bf16_weight(
    rescaled: tuple[Sources, np.ndarray], monkeypatch: pytest.MonkeyPatch, nbytes: int
) -> None:
    sources, wanted = rescaled
    for module in (reader_module, sys.modules["toolkit.engine.actions.rescale"]):
        monkeypatch.setattr(module, "PART", nbytes)
    assert made(sources, RESCALE) == {"w_weight_scale": wanted.tobytes()}


def test_a_bf16_weight_that_gives_other_codes_is_another_model(
    rescaled: tuple[Sources, np.ndarray], tmp_path: Path
) -> None:
    sources, _ = rescaled
    path = tmp_path / "bf16" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80  # the sign of the last weight
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"tensor 'w': is not what the checkpoint was quantised from: 1 of \d+"):
        made(sources, RESCALE)

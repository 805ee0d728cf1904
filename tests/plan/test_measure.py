"""Measuring a plan against searches and decoders that share no code with it, and against the whole tensor at once."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tests.helpers import Tensors, write_checkpoint
from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import CheckpointError
from toolkit.numerics.fidelity import Report
from toolkit.plan import measure as room
from toolkit.plan.measure import Measurement, measure

MAGNITUDE = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
HINT = "Quantise the model again, or fetch the file again"


@dataclass(frozen=True)
class Step:
    kind: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Steps:
    actions: tuple[Step, ...]


def nvfp4_tensors(name: str, shape: tuple[int, ...], scale_2: float = 2.0**-10) -> Tensors:
    """``shape`` is that of the packed weight, K before the last axis where there are three, else last."""
    rng = np.random.default_rng(len(name))
    scale_shape = list(shape)
    scale_shape[-2 if len(shape) == 3 else -1] //= 8
    return {
        name: ("U8", rng.integers(0, 256, shape, dtype=np.uint8)),
        f"{name}_weight_scale": ("F8_E4M3", rng.integers(0x28, 0x50, scale_shape, dtype=np.uint8)),
        f"{name}_weight_scale_2": ("F32", np.array(scale_2, "<f4")),
    }


def mxfp4_tensors(name: str, lowest: int = 105) -> Tensors:
    rng = np.random.default_rng(7)
    return {
        f"{name}_blocks": ("U8", rng.integers(0, 256, (6, 8, 2, 16), dtype=np.uint8)),
        f"{name}_scales": ("U8", rng.integers(lowest, 128, (6, 8, 2), dtype=np.uint8)),
    }


def transcode_inputs(name: str) -> tuple[str, ...]:
    return name, f"{name}_weight_scale", f"{name}_weight_scale_2"


def run(folder: Path, tensors: Tensors, *steps: Step) -> Measurement:
    write_checkpoint(folder, {"model.safetensors": tensors})
    with Checkpoint.open(folder) as checkpoint:
        return measure(Steps(steps), checkpoint)


def values_of(tensors: Tensors, name: str, experts: bool) -> np.ndarray:
    """[blocks, 32] in float64."""
    packed, scale, scale_2 = (tensors[key][1] for key in transcode_inputs(name))
    if experts:
        packed, scale = packed.swapaxes(1, 2), scale.swapaxes(1, 2)
    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1, 16)
    real = np.ascontiguousarray(scale).view(ml_dtypes.float8_e4m3fn).astype(np.float32).reshape(-1, 1) * scale_2
    return (MAGNITUDE.astype(np.float32)[codes & 7] * real).astype(np.float64).reshape(-1, 32)


def least_errors(values: np.ndarray) -> np.ndarray:
    grid = np.ldexp(MAGNITUDE, np.arange(255)[:, None] - 127)
    return np.array([np.square(np.abs(v[:, None, None] - grid).min(axis=2)).sum(axis=0).min() for v in values])


@pytest.mark.parametrize(("shape", "experts"), [((3, 32, 10), True), ((10, 48), False)])
def test_a_transcode_is_reported_as_a_search_finds_it(tmp_path: Path, shape: tuple[int, ...], experts: bool) -> None:
    tensors = nvfp4_tensors("w", shape)
    step = Step("transcode", transcode_inputs("w"))
    result = run(tmp_path, tensors, Step("keep", ("w",)), step, step)  # blocks and scales have the same inputs
    values = values_of(tensors, "w", experts)
    errors = least_errors(values)
    [entry] = result.tensors
    assert (entry.tensor, entry.kind) == ("w", "transcode")
    assert (entry.report.blocks, entry.report.exact_blocks) == (len(values), int((errors == 0).sum()))
    expected = np.sqrt(errors.sum() / np.square(values).sum())
    assert entry.report.relative_rms == pytest.approx(expected, rel=1e-12)
    assert 0.01 < expected < 0.2


def test_a_cast_counts_what_is_out_of_range_and_what_that_costs(tmp_path: Path) -> None:
    tensors = mxfp4_tensors("w")
    inputs = ("w_blocks", "w_scales")
    result = run(tmp_path, tensors, *[Step("cast", inputs)] * 3)  # packed, block scale and global scale
    blocks, scales = (tensors[name][1] for name in inputs)
    magnitudes = MAGNITUDE[np.stack([blocks & 7, blocks >> 4 & 7], axis=-1)].reshape(-1, 32)
    power = 2.0 ** (scales.reshape(-1, 1) - 127.0)
    largest = int(scales.max()) - 127
    scale = 2.0 ** (np.clip(np.log2(power), largest - 17, None))
    grid = (MAGNITUDE * scale)[:, None]
    errors = np.square(np.abs((magnitudes * power)[..., None] - grid).min(axis=2)).sum(axis=1)
    report = Report(
        96,
        int((errors == 0).sum()),
        int((scales < scales.max() - 17).sum()),
        pytest.approx(errors.sum()),
        pytest.approx(np.square(magnitudes * power).sum()),
    )
    assert [(entry.tensor, entry.kind) for entry in result.tensors] == [("w_blocks", "cast")]
    assert result.tensors[0].report == report
    assert 0 < report.inexact_blocks <= report.out_of_range


@pytest.mark.parametrize("scale_2", [0.0123, 2.0**-10])
def test_decoding_to_bf16_costs_its_rounding(tmp_path: Path, scale_2: float) -> None:
    """A power of two as the global scale leaves products of 6 bits, which BF16 holds."""
    tensors = nvfp4_tensors("w", (10, 48), scale_2)
    [entry] = run(tmp_path, tensors, Step("dequantize", transcode_inputs("w"))).tensors
    values = values_of(tensors, "w", experts=False).reshape(-1)
    rounded = values.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)
    blocks = (values == rounded).reshape(-1, 32).all(axis=1)
    assert (entry.kind, entry.report.blocks, entry.report.exact_blocks) == ("dequantize", 30, int(blocks.sum()))
    expected = np.sqrt(np.square(rounded - values).sum() / np.square(values).sum())
    assert entry.report.relative_rms == pytest.approx(expected, rel=1e-3, abs=1e-12)
    assert (5e-4 < expected < 4e-3) == (scale_2 == 0.0123)
    assert (entry.report.exact_share == 1) == (scale_2 != 0.0123)


def test_a_short_last_block_is_counted(tmp_path: Path) -> None:
    [entry] = run(tmp_path, nvfp4_tensors("w", (3, 8)), Step("dequantize", transcode_inputs("w"))).tensors
    assert entry.report.blocks == 2


def test_totals_are_kept_apart_by_kind(tmp_path: Path) -> None:
    tensors = {**nvfp4_tensors("a", (2, 16, 4)), **nvfp4_tensors("bb", (8, 16)), **mxfp4_tensors("c", lowest=120)}
    steps = [Step("transcode", transcode_inputs(name)) for name in ("bb", "a")]
    result = run(tmp_path, tensors, *steps, Step("cast", ("c_blocks", "c_scales")))
    assert [entry.tensor for entry in result.tensors] == ["bb", "a", "c_blocks"]
    assert result.kinds == ("transcode", "cast")
    assert result.total("transcode") == result.tensors[0].report + result.tensors[1].report
    document = result.to_dict()
    assert list(document["totals"]) == ["transcode", "cast"]
    assert document["totals"]["cast"] == {
        "blocks": 96,
        "exact_blocks": 96,
        "out_of_range": 0,
        "squared_error": 0.0,
        "squared_norm": result.total("cast").squared_norm,
        "inexact_blocks": 0,
        "exact_share": 1.0,
        "relative_rms": 0.0,
    }
    assert document["tensors"][2] == {"tensor": "c_blocks", "kind": "cast", **document["totals"]["cast"]}


def test_a_plan_that_changes_no_format(tmp_path: Path) -> None:
    result = run(tmp_path, nvfp4_tensors("w", (2, 16, 4)), Step("keep", ("w",)), Step("drop", ("w_weight_scale",)))
    assert result.to_dict() == {"totals": {}, "tensors": []}


def test_parts_change_nothing_and_progress_counts_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {**nvfp4_tensors("e", (5, 16, 8)), **nvfp4_tensors("lin", (30, 32)), **mxfp4_tensors("m")}
    steps = [Step("transcode", transcode_inputs(name)) for name in ("e", "lin")]
    steps.append(Step("cast", ("m_blocks", "m_scales")))
    whole = run(tmp_path / "whole", tensors, *steps)
    monkeypatch.setattr(room, "_PART", 300)  # 2 of 5 experts, 9 of 30 rows, 1 of 6 experts
    calls: list[tuple[int, int]] = []
    with Checkpoint.open(tmp_path / "whole") as checkpoint:
        parts = measure(Steps(tuple(steps)), checkpoint, lambda done, total: calls.append((done, total)))
    for one, other in zip(parts.tensors, whole.tensors, strict=True):
        assert one.report.squared_error == pytest.approx(other.report.squared_error, rel=1e-12)
        assert (one.report.blocks, one.report.exact_blocks) == (other.report.blocks, other.report.exact_blocks)
    total = sum(array.nbytes for name, (_, array) in tensors.items() if not name.endswith("_scale_2"))
    assert len(calls) == 3 + 4 + 6
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert {call[1] for call in calls} == {total} == {calls[-1][0]}


def test_memory_does_not_grow_with_the_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_PART", 1 << 16)
    peaks = []
    for experts in (2, 64):
        folder = tmp_path / str(experts)
        write_checkpoint(folder, {"model.safetensors": nvfp4_tensors("w", (experts, 64, 1024))})
        with Checkpoint.open(folder) as checkpoint:
            steps = Steps((Step("transcode", transcode_inputs("w")),))
            measure(steps, checkpoint)
            tracemalloc.start()
            measure(steps, checkpoint)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_pages_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[str] = []
    monkeypatch.setattr(Checkpoint, "release", lambda self, name: released.append(name))
    tensors = {**nvfp4_tensors("w", (2, 16, 4)), **mxfp4_tensors("m")}
    cast_inputs = ("m_blocks", "m_scales")
    run(tmp_path, tensors, Step("transcode", transcode_inputs("w")), Step("cast", cast_inputs))
    assert set(released) == {*transcode_inputs("w"), *cast_inputs}


def damaged(name: str) -> tuple[Tensors, Step, str]:
    """A checkpoint with one defect, the action that meets it, and what the error says after the file's name."""
    tensors, mxfp4 = dict(nvfp4_tensors("w", (4, 16, 8))), dict(mxfp4_tensors("m"))
    transcode, cast = Step("transcode", transcode_inputs("w")), Step("cast", ("m_blocks", "m_scales"))
    if name == "nan block scale":
        tensors["w_weight_scale"][1][3, 1, 5] = 0x7F
        return tensors, transcode, f"tensor 'w': block scale [3, 1, 5] is 0x7f, which is NaN. {HINT}"
    if name == "global scale":
        tensors["w_weight_scale_2"] = ("F32", np.array(0, "<f4"))
        return tensors, transcode, "tensor 'w_weight_scale_2': is 0.0, but must be finite and above 0."
    if name == "nan block scale of a Linear":
        linear = dict(nvfp4_tensors("lin", (4, 16)))
        linear["lin_weight_scale"][1][2, 1] = 0xFF
        return linear, Step("dequantize", transcode_inputs("lin")), "tensor 'lin': a block scale decodes to what is not"
    if name == "nan MXFP4 scale":
        mxfp4["m_scales"][1][5, 7, 1] = 255
        return mxfp4, cast, "tensor 'm_blocks': MXFP4 scale [5, 7, 1] is 255, which is NaN. Fetch the file again"
    if name == "dtype":
        tensors["w"] = ("BF16", np.zeros((4, 16, 8), "<u2"))
        return tensors, transcode, "tensor 'w': dtype is BF16, but must be U8"
    if name == "untransposed scales":
        tensors["w_weight_scale"] = ("F8_E4M3", np.zeros((4, 32, 1), np.uint8))
        what = "NVFP4 block scales of shape [4, 32, 1] do not fit packed weights of shape [4, 16, 8]"
        return tensors, transcode, f"tensor 'w': {what}: they would be [4, 2, 8]"
    mxfp4["m_scales"] = ("U8", np.zeros((5, 8, 2), np.uint8))
    return mxfp4, cast, "tensor 'm_blocks': MXFP4 scales of shape [5, 8, 2] do not fit blocks of shape [6, 8, 2, 16]"


@pytest.mark.parametrize(
    "name",
    [
        "nan block scale",
        "nan block scale of a Linear",
        "global scale",
        "nan MXFP4 scale",
        "dtype",
        "untransposed scales",
        "experts",
    ],
)
def test_a_damaged_tensor_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(room, "_PART", 1)
    tensors, step, message = damaged(name)
    with pytest.raises(CheckpointError) as caught:
        run(tmp_path, tensors, step)
    assert str(caught.value).startswith(f"{tmp_path / 'model.safetensors'}, {message}")


def test_the_sample(sample: Path) -> None:
    with Checkpoint.open(sample) as checkpoint:
        packed = [name for name, info in checkpoint.tensors.items() if info.dtype == "U8" and ".experts." in name]
        result = measure(Steps(tuple(Step("transcode", transcode_inputs(name)) for name in packed)), checkpoint)
    assert [entry.tensor for entry in result.tensors] == packed
    assert 0.05 < result.total("transcode").relative_rms < 0.15

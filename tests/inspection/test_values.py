"""Reading every FP4 weight and block scale, against plain NumPy over bytes read without the code under test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.inspection.variants import GPT_OSS, LLAMA, Tensors, Variant, made
from toolkit.checkpoint.source import Checkpoint
from toolkit.inspection import Finding, inspect_source, inspect_values, values
from toolkit.inspection.modules import modules
from toolkit.inspection.values import Deep, Values
from toolkit.models.layout import Layout
from toolkit.numerics import nvfp4

DOWN = "model.layers.0.mlp.down_proj."


def deep_of(folder: Path) -> Deep:
    with Checkpoint.open(folder) as checkpoint:
        return inspect_values(checkpoint, modules(checkpoint.tensors))


def plain(tensors: Tensors, weight: str, scale: str, *, axis: int, block: int) -> Values:
    """The definition, one weight at a time: codes unpacked, laid out along K, counted."""
    packed = np.moveaxis(tensors[weight][1], axis, -1)
    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1, block)
    scales = tensors[scale][1].reshape(-1)
    return Values(
        weights=codes.size,
        saturated=int(np.isin(codes, [7, 15]).sum()),
        blocks=len(codes),
        zero_blocks=int(np.isin(codes, [0, 8]).all(axis=1).sum()),
        nan_scales=int(np.isin(scales, [0x7F, 0xFF] if block == 16 else [0xFF]).sum()),
        zero_scales=int(np.isin(scales, [0x00, 0x80] if block == 16 else []).sum()),
        negative_scales=int(((scales > 0x80) & (scales < 0xFF)).sum()) if block == 16 else 0,
        histogram=tuple(int((scales == byte).sum()) for byte in range(256)),
    )


@pytest.mark.parametrize("piece", [1 << 18, 1 << 10])
def test_the_sample(sample: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(values, "_PIECE", piece)
    tensors = Variant.of(sample).tensors
    deep = deep_of(sample)
    assert len(deep.modules) == 36
    for each in deep.modules:
        name = each.module.name
        if ".experts." in name:
            assert each.values == plain(tensors, name, f"{name}_weight_scale", axis=-2, block=16)
        else:
            assert each.values == plain(tensors, f"{name}.weight", f"{name}.weight_scale", axis=-1, block=16)
        assert (each.first_nan, each.first_zero, each.first_negative) == (None, None, None)
    scales = np.concatenate([array.reshape(-1) for dtype, array in tensors.values() if dtype == "F8_E4M3"])
    assert deep.total.histogram == tuple(np.bincount(scales, minlength=256))
    assert deep.skipped == ()


def spoiled(variant: Variant, scales: str) -> None:
    """Any byte as a scale, NaN and zero among them; rows of weights that are zeros of both signs."""
    rng = np.random.default_rng(7)
    for name, (dtype, array) in variant.tensors.items():
        bits = rng.integers(0, 256, array.shape, np.uint8)
        if name.endswith(scales):
            bits.flat[[5, -2]] = 0xFF
            bits.flat[[7, -1]] = 0x00
            variant.tensors[name] = (dtype, bits)
        elif dtype == "U8":
            bits[rng.random(array.shape[:-1]) < 0.2] &= np.uint8(0x88)
            variant.tensors[name] = (dtype, bits)


@pytest.mark.parametrize("piece", [1 << 18, 64])
def test_mxfp4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(values, "_PIECE", piece)
    variant = made(GPT_OSS, Layout("bf16", "mxfp4"))
    spoiled(variant, "_scales")
    folder = variant.write(tmp_path / "m")
    deep = deep_of(folder)
    assert [each.module.format for each in deep.modules] == ["mxfp4"] * 4
    for each in deep.modules:
        name = each.module.name
        blocks = variant.tensors[f"{name}_blocks"][1]
        flat = {"w": ("U8", blocks.reshape(*blocks.shape[:-2], -1)), "s": variant.tensors[f"{name}_scales"]}
        assert each.values == plain(flat, "w", "s", axis=-1, block=32)
        assert each.values.zero_blocks > 0
        nan = np.flatnonzero(variant.tensors[f"{name}_scales"][1].reshape(-1) == 0xFF)
        assert (each.first_nan, each.first_zero) == (each.module.tensors["scales"].begin + nan[0], None)
        assert each.first_negative is None


@pytest.mark.parametrize("piece", [1 << 18, 64])
def test_nan_and_zero_scales_have_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(values, "_PIECE", piece)
    variant = made(LLAMA, Layout("nvfp4", "nvfp4"), quant_algo="NVFP4", group_size=16, exclude_modules=["lm_head"])
    spoiled(variant, "weight_scale")
    folder = variant.write(tmp_path / "m")
    deep = deep_of(folder)
    assert len(deep.modules) == 7
    for each in deep.modules:
        name = each.module.name
        assert each.values == plain(variant.tensors, f"{name}.weight", f"{name}.weight_scale", axis=-1, block=16)
        data, begin = (folder / "model.safetensors").read_bytes(), each.module.tensors["weight_scale"].begin
        scales = np.frombuffer(data[begin : each.module.tensors["weight_scale"].end], np.uint8)
        assert each.first_nan == begin + np.flatnonzero((scales & 0x7F) == 0x7F)[0]
        assert each.first_zero == begin + np.flatnonzero((scales & 0x7F) == 0)[0]
        assert each.first_negative == begin + np.flatnonzero((scales > 0x80) & (scales < 0xFF))[0]


def test_progress_ends_at_the_bytes_of_what_is_read(sample: Path) -> None:
    calls: list[tuple[int, int]] = []
    inspect_source(str(sample), deep=True, progress=lambda done, total: calls.append((done, total)))
    total = sum(array.nbytes for dtype, array in Variant.of(sample).tensors.values() if dtype in ("U8", "F8_E4M3"))
    done = [count for count, _ in calls]
    assert {of for _, of in calls} == {total}
    assert done == sorted(done)
    assert done[-1] == total


@pytest.mark.parametrize("shape", [(64, 44), (64, 0), (0, 48), (48,)])
def test_shapes_without_whole_blocks_are_said_to_be_skipped(tmp_path: Path, shape: tuple[int, ...]) -> None:
    variant = made(LLAMA, Layout("nvfp4", "nvfp4"), quant_algo="NVFP4", group_size=16, exclude_modules=["lm_head"])
    variant.tensors[DOWN + "weight"] = ("U8", np.zeros(shape, np.uint8))
    deep = deep_of(variant.write(tmp_path / "m"))
    assert (len(deep.modules), deep.skipped) == (6, (DOWN[:-1],))


def test_fused_experts_without_columns_are_skipped(tmp_path: Path) -> None:
    name = "l.0.experts.gate_up_proj"
    empty = {
        name: ("U8", np.zeros((4, 8, 0), np.uint8)),
        f"{name}_weight_scale": ("F8_E4M3", np.zeros((4, 1, 0), np.uint8)),
    }
    variant = Variant({**empty, f"{name}_weight_scale_2": ("F32", np.ones((), "<f4"))}, {"architectures": ["A"]}, None)
    assert deep_of(variant.write(tmp_path / "m")).skipped == (name,)


@pytest.fixture
def llama(shared_fixtures: Path) -> Variant:
    return Variant.of(shared_fixtures / "tiny-llama-nvfp4-modelopt-0.37")


def found(variant: Variant, tmp_path: Path) -> dict[str, Finding]:
    return {each.id: each for each in inspect_source(str(variant.write(tmp_path / "m")), deep=True).findings}


def test_a_tensor_of_zeros_as_modelopt_writes_it(llama: Variant, tmp_path: Path) -> None:
    packed, scale, scale_2 = nvfp4.quantize(np.zeros((64, 96), np.float32))
    llama.tensors[DOWN + "weight"] = ("U8", packed)
    llama.tensors[DOWN + "weight_scale"] = ("F8_E4M3", scale)
    llama.tensors[DOWN + "weight_scale_2"] = ("F32", np.array(scale_2, "<f4"))
    findings = found(llama, tmp_path)
    assert {id for id, each in findings.items() if each.severity != "info"} == {"bad-tensor-scale", "nan-block-scales"}
    nan = findings["nan-block-scales"]
    assert (nan.severity, nan.where) == ("error", f"model.safetensors, tensor '{DOWN}weight_scale'")
    assert nan.detail.startswith("384 of 5,376 block scales are NaN, in 1 tensor, the first at byte ")


def test_underflowed_blocks(llama: Variant, tmp_path: Path) -> None:
    weight = np.random.default_rng(3).normal(size=(64, 96)).astype(np.float32)
    weight[5, 16:32] *= 1e-8
    packed, scale, scale_2 = nvfp4.quantize(weight)
    assert scale[5, 1] == 0
    llama.tensors[DOWN + "weight"] = ("U8", packed)
    llama.tensors[DOWN + "weight_scale"] = ("F8_E4M3", scale)
    llama.tensors[DOWN + "weight_scale_2"] = ("F32", np.array(scale_2, "<f4"))
    findings = found(llama, tmp_path)
    assert {each.severity for each in findings.values()} == {"info"}
    assert findings["underflowed-blocks"].detail.startswith("1 of 5,376 block scales are 0, in 1 tensor, the first at")


def test_negative_block_scales(llama: Variant, tmp_path: Path) -> None:
    dtype, array = llama.tensors[DOWN + "weight_scale"]
    array = array.copy()
    array[1, 2], array[3, 0] = 0x81, 0xFE
    llama.tensors[DOWN + "weight_scale"] = (dtype, array)
    finding = found(llama, tmp_path)["negative-block-scales"]
    assert (finding.severity, finding.where) == ("error", f"model.safetensors, tensor '{DOWN}weight_scale'")
    data = (tmp_path / "m" / "model.safetensors").read_bytes()
    at = data.index(array.tobytes()) + array.shape[1] + 2
    assert finding.detail.startswith(f"2 of 5,376 block scales are negative, in 1 tensor, the first at byte {at}: ")


def test_nan_scales_of_mxfp4_are_not_modelopts(tmp_path: Path) -> None:
    variant = made(GPT_OSS, Layout("bf16", "mxfp4"))
    variant.config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    variant.tensors["model.layers.0.mlp.experts.down_proj_scales"][1][0, 0, 0] = 0xFF
    finding = found(variant, tmp_path)["nan-block-scales"]
    assert finding.severity == "error"
    assert "1 of " in finding.detail
    assert "ModelOpt" not in finding.detail
    assert "0x38" not in finding.repair


def test_mxfp4_of_a_linear(tmp_path: Path) -> None:
    variant = Variant.of_export("llama-w4a8-mxfp4-fp8")
    spoiled(variant, "weight_scale")
    deep = deep_of(variant.write(tmp_path / "m"))
    assert len(deep.modules) == 7
    for each in deep.modules:
        name = each.module.name
        assert each.values == plain(variant.tensors, f"{name}.weight", f"{name}.weight_scale", axis=-1, block=32)


def test_wide_rows_are_read_in_pieces(tmp_path: Path) -> None:
    """A fused tensor's row of blocks has all its columns; what is read at once must not grow with them."""
    name, shape = "l.0.experts.gate_up_proj", (1, 16, 70_000)
    rng = np.random.default_rng(5)
    wide: Tensors = {
        name: ("U8", rng.integers(0, 256, shape, np.uint8)),
        f"{name}_weight_scale": ("F8_E4M3", np.full((1, 2, shape[2]), 0x38, np.uint8)),
        f"{name}_weight_scale_2": ("F32", np.ones((), "<f4")),
    }
    folder = Variant(wide, {"architectures": ["A"]}, None).write(tmp_path / "m")
    pieces: list[int] = []
    with Checkpoint.open(folder) as checkpoint:
        deep = inspect_values(checkpoint, modules(checkpoint.tensors), lambda done, total: pieces.append(done))
    assert deep.total == plain(wide, name, f"{name}_weight_scale", axis=-2, block=16)
    assert max(np.diff([0, *pieces])) <= 1 << 18


@pytest.mark.parametrize(
    ("scales", "id"),
    [
        ((0x60, 0x78, 0x70), "cast-from-mxfp4"),
        ((0x60, 0x78, 0x70, 0x00), "cast-from-mxfp4"),
        ((0x60, 0x78, 0x71), "four-over-six"),
        ((0x60, 0x78, 0x71, 0x00), "four-over-six"),
    ],
)
def test_scales_up_to_256(llama: Variant, tmp_path: Path, scales: tuple[int, ...], id: str) -> None:
    for name, (dtype, array) in llama.tensors.items():
        if dtype == "F8_E4M3":
            llama.tensors[name] = (dtype, np.resize(np.array(scales, np.uint8), array.shape))
    findings = found(llama, tmp_path)
    assert {each.severity for each in findings.values()} == {"info"}
    assert findings.keys() & {"cast-from-mxfp4", "four-over-six"} == {id}


def test_a_cast_is_told_tensor_by_tensor(llama: Variant, tmp_path: Path) -> None:
    """Beside it attention is quantised: its largest scales are 448, and one tensor of a fused group may end at 256."""
    for name, (dtype, array) in llama.tensors.items():
        if dtype == "F8_E4M3":
            scales = (0x60, 0x78) if ".mlp." in name else (0x60, 0x78, 0x71) if ".k_proj." in name else (0x60, 0x7E)
            llama.tensors[name] = (dtype, np.resize(np.array(scales, np.uint8), array.shape))
    findings = found(llama, tmp_path)
    assert findings.keys() & {"cast-from-mxfp4", "four-over-six"} == {"cast-from-mxfp4"}
    assert findings["cast-from-mxfp4"].detail.startswith("every block scale of 6 tensors is a power of two")

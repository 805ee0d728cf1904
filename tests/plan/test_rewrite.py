from __future__ import annotations

from dataclasses import replace

from tests.models import layouts
from tests.plan.cases import census
from toolkit.checkpoint.header import TensorInfo
from toolkit.models.layout import Layout
from toolkit.plan import rewrite
from toolkit.plan.types import Action, ShardPlan


def test_a_linear_becomes_bf16_and_loses_its_scales() -> None:
    weight = "model.layers.0.self_attn.q_proj.weight"
    scale, scale_2, input_scale = f"{weight}_scale", f"{weight}_scale_2", "model.layers.0.self_attn.q_proj.input_scale"
    assert rewrite.dequantize_linears([weight], {weight: (96, 32)}, "bf16-attention") == {
        weight: (Action("dequantize", (weight, scale, scale_2), weight, "BF16", (96, 64), "bf16-attention"),),
        scale: (Action("drop", (scale,), reason="unused-scale"),),
        scale_2: (Action("drop", (scale_2,), reason="unused-scale"),),
        input_scale: (Action("drop", (input_scale,), reason="unused-scale"),),
    }


def test_nvfp4_experts_become_blocks_and_scales() -> None:
    """The fused tensor of 2880 → 5760 of gpt-oss-120b, as openai/gpt-oss-120b stores it."""
    stem = "model.layers.0.mlp.experts.gate_up_proj"
    inputs = (stem, f"{stem}_weight_scale", f"{stem}_weight_scale_2")
    assert rewrite.experts_to_mxfp4([stem], {stem: (128, 1440, 5760)}) == {
        stem: (Action("transcode", inputs, f"{stem}_blocks", "U8", (128, 5760, 90, 16), "to-mxfp4"),),
        inputs[1]: (Action("transcode", inputs, f"{stem}_scales", "U8", (128, 5760, 90), "to-mxfp4"),),
        inputs[2]: (Action("drop", (inputs[2],), reason="no-scale-in-mxfp4"),),
        f"{stem}_input_scale": (Action("drop", (f"{stem}_input_scale",), reason="no-scale-in-mxfp4"),),
    }


def test_mxfp4_experts_become_codes_and_three_scales() -> None:
    stem = "model.layers.0.mlp.experts.down_proj"
    inputs = (f"{stem}_blocks", f"{stem}_scales")
    shapes = {inputs[0]: (128, 2880, 90, 16), inputs[1]: (128, 2880, 90)}
    codes = Action("cast", inputs, stem, "U8", (128, 1440, 2880), "to-nvfp4")
    block_scales = Action("cast", inputs, f"{stem}_weight_scale", "F8_E4M3", (128, 180, 2880), "to-nvfp4")
    global_scale = Action("cast", inputs, f"{stem}_weight_scale_2", "F32", (), "to-nvfp4")
    name = f"{stem}_input_scale"
    one = Action("fill", (), name, "F32", (), "input-scale", value=1.0)
    taken = Action("take", (), name, "F32", (), "taken-input-scale", borrowed=(name,), origin="input_scales")
    for take_scales, last in ((False, one), (True, taken)):
        assert rewrite.experts_to_nvfp4([stem], shapes, take_scales=take_scales) == {
            inputs[0]: (codes,),
            inputs[1]: (block_scales, global_scale, last),
        }


def test_the_stems_are_the_packed_weights_of_modelopt_s_export() -> None:
    _, geometry, tensors = layouts.case("gpt-oss-nvfp4")
    packed = [name for name, (dtype, _) in tensors.items() if dtype == "U8" and ".experts." in name]
    assert sorted(rewrite.expert_stems(geometry)) == sorted(packed)


def test_shards_keep_their_names_and_the_order_of_bytes() -> None:
    first, second = "model-1.safetensors", "model-2.safetensors"
    infos = {
        "late": TensorInfo("late", "F32", (2,), first, 108, 116),
        "early": TensorInfo("early", "BF16", (4,), first, 100, 108),
        "other": TensorInfo("other", "F32", (), second, 100, 104),
    }
    source = replace(census("llama-bf16"), tensors=infos, shards={first: 116, second: 104})
    keep = Action("keep", ("early",), "early", "BF16", (4,), "same")
    other = Action("keep", ("other",), "other", "F32", (), "same")
    drop, fill = Action("drop", ("late",), reason="unused-scale"), rewrite.fill_one("new", "no-input-scale")
    shards = rewrite.source_shards(source, {"late": (drop, fill)})
    assert shards == (ShardPlan(first, (keep, drop, fill)), ShardPlan(second, (other,)))
    assert rewrite.reasons_of(shards) == {
        key: rewrite.REASONS[key] for key in ("same", "unused-scale", "no-input-scale")
    }


def test_every_reason_of_an_action_is_a_sentence() -> None:
    """Keys that the functions above put into actions, so that no plan names one that is not there."""
    stem, weight = "model.layers.0.mlp.experts.down_proj", "a.weight"
    changes = (
        rewrite.dequantize_linears([weight], {weight: (2, 16)}, "bf16-weights")
        | rewrite.experts_to_mxfp4([stem], {stem: (2, 16, 32)})
        | rewrite.experts_to_nvfp4([stem], {f"{stem}_blocks": (2, 32, 1, 16)}, take_scales=True)
        | {"x": (rewrite.rescale("x_weight_scale", "x", (2, 2, 32)), rewrite.fill_one("y", "no-input-scale"))}
    )
    reasons = {action.reason for actions in changes.values() for action in actions}
    assert reasons <= rewrite.REASONS.keys()


def test_only_a_transcode_loses() -> None:
    nvfp4, mxfp4 = Layout("nvfp4", "nvfp4"), Layout("bf16", "mxfp4")
    assert rewrite.is_lossy(nvfp4, mxfp4)
    assert not rewrite.is_lossy(nvfp4, Layout("bf16", "nvfp4"))
    assert not rewrite.is_lossy(mxfp4, Layout("bf16", "nvfp4"))
    assert not rewrite.is_lossy(mxfp4, mxfp4)

"""Defects of exports that a plan repairs, made from the layouts that ModelOpt really wrote."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.models import layouts
from tests.plan.cases import B200, census, cpu_recipe, scalars, tiny, whats, written
from toolkit.checkpoint.census import Census
from toolkit.checkpoint.header import TensorInfo
from toolkit.errors import CheckpointError
from toolkit.models.geometry import Spec
from toolkit.plan import Action, make_plan
from toolkit.plan.repairs import check_taken, repair
from toolkit.plan.rewrite import take

CASE = "gpt-oss-nvfp4"
LAYER = "model.layers.0.mlp.experts."


def specs() -> dict[str, Spec]:
    return layouts.case(CASE)[2]


def wrong_block_scales() -> Census:
    """As ModelOpt 0.35 wrote them: [E, in, out/16] instead of [E, in/16, out]."""
    tensors = specs()
    for name in list(tensors):
        if name.endswith("proj_weight_scale"):
            experts, half, n = tensors[name.removesuffix("_weight_scale")][1]
            tensors[name] = ("F8_E4M3", (experts, 2 * half, n // 16))
    return census(CASE, tensors=tensors, exclude=["lm_head"])


def bf16_source() -> dict[str, TensorInfo]:
    return layouts.infos(layouts.case("gpt-oss-bf16")[2])


def without_input_scales(case: str = CASE) -> Census:
    tensors = {name: spec for name, spec in layouts.case(case)[2].items() if not name.endswith("input_scale")}
    return census(case, tensors=tensors, exclude=["lm_head"])


def test_a_sound_checkpoint_has_nothing_to_repair() -> None:
    for case in ("llama-nvfp4-fp8-kv", "qwen3-moe-nvfp4", CASE, "gpt-oss-mxfp4", "llama-bf16"):
        infos = layouts.infos(layouts.case(case)[2])
        assert repair(infos, "folder", bf16=None, input_scales=None) == (infos, {})
        assert repair(infos, "folder", bf16=bf16_source(), input_scales=None) == (infos, {})


def test_input_scales_that_a_recipe_names_take_the_place_of_the_checkpoint_s_own() -> None:
    infos = layouts.infos(layouts.case(CASE)[2])
    sound, changes = repair(infos, "folder", bf16=None, input_scales=infos)
    assert sound == infos
    assert set(changes) == {name for name in infos if name.endswith("input_scale")}
    assert all(action.kind == "take" and action.borrowed == (name,) for name, (action,) in changes.items())


def test_block_scales_are_computed_again_from_the_bf16_source() -> None:
    plan = make_plan(tiny(), wrong_block_scales(), bf16=bf16_source())
    sound = make_plan(tiny(), census(CASE, exclude=["lm_head"]))
    assert written(plan) == written(sound)
    assert (plan.verdict, plan.lossy) == ("after-change", False)
    rescaled = [action for action in plan.actions if action.kind == "rescale"]
    assert len(rescaled) == 4
    name, packed = f"{LAYER}gate_up_proj_weight_scale", f"{LAYER}gate_up_proj"
    assert next(action for action in rescaled if action.output == name) == Action(
        kind="rescale",
        inputs=(packed, f"{packed}_weight_scale_2"),
        output=name,
        dtype="F8_E4M3",
        shape=(3, 64 // 16, 320),
        reason="block-scales",
        borrowed=(packed,),
        origin="bf16",
    )
    assert [action for action in plan.actions if action.kind != "rescale"] == [
        action for action in sound.actions if not str(action.output).endswith("proj_weight_scale")
    ]


def test_without_the_source_the_wrong_block_scales_are_named() -> None:
    with pytest.raises(CheckpointError) as caught:
        make_plan(tiny(), wrong_block_scales())
    assert str(caught.value) == (
        f"gpt-oss-nvfp4/model.safetensors, tensor '{LAYER}down_proj_weight_scale': block scales run along out: the "
        "defect of ModelOpt 0.35.0 and 0.35.1. Set checkpoint.bf16 to the BF16 model that it was made from, or export "
        "again with 0.37 or later"
    )


def test_the_source_must_be_of_the_same_model() -> None:
    name = f"{LAYER}gate_up_proj"
    hint = "Set checkpoint.bf16 to the checkpoint of the same model"
    source = bf16_source()
    other = source | {name: replace(source[name], shape=(3, 64, 318))}
    with pytest.raises(CheckpointError) as caught:
        make_plan(tiny(), wrong_block_scales(), bf16=other)
    wanted = f"checkpoint.bf16, tensor '{name}': is BF16 [3, 64, 318], not BF16 [3, 64, 320]. {hint}"
    assert str(caught.value) == wanted
    lacking = {key: info for key, info in source.items() if key != name}
    with pytest.raises(CheckpointError) as caught:
        make_plan(tiny(), wrong_block_scales(), bf16=lacking)
    assert str(caught.value) == f"checkpoint.bf16: tensor '{name}' is missing. {hint}, or leave it out"


def test_the_cpu_runtime_gets_the_repair_as_well() -> None:
    plan = make_plan(cpu_recipe("engine.max_seq_len=256"), wrong_block_scales(), bf16=bf16_source())
    assert (plan.verdict, plan.counts()) == ("after-change", {"keep": len(specs()) - 4, "rescale": 4})
    assert written(plan) == specs()


@pytest.mark.parametrize("case", ["llama-nvfp4", "qwen3-moe-nvfp4", CASE])
def test_missing_input_scales_become_1(case: str) -> None:
    tensors = layouts.case(case)[2]
    plan = make_plan(tiny(), without_input_scales(case))
    sound = make_plan(tiny(), census(case, exclude=["lm_head"]))
    assert written(plan) == written(sound)
    filled = [action for action in plan.actions if action.kind == "fill"]
    kept = {name for name in tensors if name.endswith("input_scale") and name in written(sound)}
    assert {action.output for action in filled} == kept
    assert {(a.dtype, a.shape, a.value, a.reason) for a in filled} == {("F32", (), 1.0, "no-input-scale")}
    assert plan.verdict == "after-change"


def test_the_cpu_runtime_gets_input_scales_as_well() -> None:
    plan = make_plan(cpu_recipe("engine.max_seq_len=256"), without_input_scales())
    assert written(plan) == specs()
    assert plan.counts() == {"keep": len(specs()) - 12, "fill": 12}


def test_missing_input_scales_are_taken_where_the_recipe_has_them() -> None:
    calibrated = scalars(*(name for name in specs() if name.endswith("input_scale")))
    plan = make_plan(tiny(), without_input_scales(), input_scales=calibrated)
    taken = [action for action in plan.actions if action.kind == "take"]
    experts = [name for name in specs() if name.endswith("proj_input_scale")]
    assert sorted(str(action.output) for action in taken) == sorted(experts)
    assert taken[0] == Action(
        kind="take",
        inputs=(),
        output=taken[0].output,
        dtype="F32",
        shape=(),
        reason="taken-input-scale",
        borrowed=(str(taken[0].output),),
        origin="input_scales",
    )
    assert not any(action.kind == "fill" for action in plan.actions)


def test_an_input_scale_that_is_not_there_either_is_one_error() -> None:
    names = [name for name in specs() if name.endswith("proj_input_scale")]
    lacking = scalars(*names[1:])
    with pytest.raises(CheckpointError) as caught:
        make_plan(tiny(), without_input_scales(), input_scales=lacking)
    hint = "Set checkpoint.input_scales to the checkpoint of the same model, or leave it out"
    assert str(caught.value) == f"checkpoint.input_scales: tensor '{names[0]}' is missing. {hint}"


def test_what_is_taken_must_be_one_f32_value() -> None:
    changes = {"x": (take("a_input_scale"),)}
    check_taken(changes, scalars("a_input_scale"))
    for shape, dtype in (((2,), "F32"), ((1,), "F32"), ((), "BF16")):
        with pytest.raises(CheckpointError, match=r"checkpoint\.input_scales, tensor 'a_input_scale': is "):
            check_taken(changes, scalars("a_input_scale", shape=shape, dtype=dtype))
    with pytest.raises(CheckpointError, match=r"checkpoint\.input_scales: tensor 'a_input_scale' is missing"):
        check_taken(changes, None)
    check_taken({}, None)


def test_a_repair_that_leaves_is_not_looked_for() -> None:
    """Attention becomes BF16 for TensorRT-LLM, so its input scales need not be anywhere."""
    experts_only = scalars(*(name for name in specs() if name.endswith("proj_input_scale")))
    plan = make_plan(tiny(), without_input_scales(), input_scales=experts_only)
    assert not plan.refusals
    with pytest.raises(CheckpointError, match=r"self_attn.*input_scale' is missing"):
        make_plan(cpu_recipe("engine.max_seq_len=256"), without_input_scales(), input_scales=experts_only)


def test_wrong_block_scales_are_repaired_before_they_are_transcoded() -> None:
    plan = make_plan(tiny("target.gpu=h200", "target.weights=mxfp4"), wrong_block_scales(), bf16=bf16_source())
    assert whats(plan) == ["the block scales must be repaired before they can be transcoded"]
    [refusal] = plan.refusals
    assert refusal.evidence.source
    assert "target.weights=nvfp4" in refusal.ways_out[0]
    assert B200[2] == "target.gpu=b200"
    assert not make_plan(tiny("target.weights=nvfp4"), wrong_block_scales(), bf16=bf16_source()).refusals

"""What becomes of a checkpoint for TensorRT-LLM: against layouts that ModelOpt and transformers really wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models import layouts
from tests.plan.cases import (
    B200,
    GPT_OSS_20B,
    GPT_OSS_120B,
    GPT_OSS_120B_NVFP4,
    LLAMA_8B,
    QWEN3_30B,
    census,
    census_of,
    cpu_recipe,
    inline_quant,
    modelopt_layouts,
    plan_published,
    quant_file,
    scalars,
    tiny,
    written,
)
from toolkit.checkpoint.header import TensorInfo
from toolkit.errors import CheckpointError
from toolkit.models.gpt_oss import MXFP4_CONFIG
from toolkit.models.layout import Layout
from toolkit.plan import Action, Copy, Plan, make_plan

MLP_ONLY = "tiny-gpt-oss-nvfp4-mlponly-modelopt-0.37"
INDEX = "model.safetensors.index.json"
# What TensorRT-LLM's gpt-oss loader excludes for two layers (facts of load_nvfp4_weights, #8956).
LOADER_EXCLUDES = [
    "model.layers.0.self_attn*",
    "model.layers.0.mlp.router",
    "model.layers.1.self_attn*",
    "model.layers.1.mlp.router",
    "model.embed_tokens",
    "lm_head",
]


def test_the_sample_s_attention_becomes_bf16(sample: Path) -> None:
    source = census_of(sample)
    plan = make_plan(cpu_recipe(*B200), source)
    layers = source.config["num_hidden_layers"]
    assert plan.verdict == "after-change"
    assert plan.counts() == {"dequantize": 4 * layers, "drop": 12 * layers, "keep": len(source.tensors) - 16 * layers}
    name = "model.layers.0.self_attn.o_proj.weight"
    [action] = [a for a in plan.actions if a.output == name]
    assert action == Action(
        kind="dequantize",
        inputs=(name, f"{name}_scale", f"{name}_scale_2"),
        output=name,
        dtype="BF16",
        shape=(source.config["hidden_size"], 12 * 32),
        reason="bf16-attention",
    )
    assert not any("self_attn" in str(a.output) and "scale" in str(a.output) for a in plan.actions)
    assert [shard.file for shard in plan.shards] == list(source.shards)


def test_nvfp4_gpt_oss_becomes_modelopt_s_mlp_only_export(shared_fixtures: Path) -> None:
    """NVFP4_MLP_ONLY_CFG is the layout that the loader expects, so ModelOpt's own export is the oracle."""
    wanted = {name: (t.dtype, t.shape) for name, t in census_of(shared_fixtures / MLP_ONLY).tensors.items()}
    for source in ("tiny-gpt-oss-nvfp4-modelopt-0.37", "tiny-gpt-oss-nvfp4-sharded-modelopt-0.37"):
        assert written(make_plan(cpu_recipe(*B200), census_of(shared_fixtures / source))) == wanted


def test_nvfp4_gpt_oss_becomes_the_committed_headers_of_that_export() -> None:
    golden = modelopt_layouts()
    source = census("gpt-oss-nvfp4", tensors=golden["default"], config=golden["config"])
    assert written(make_plan(tiny(), source)) == golden["mlp_only"]


def test_nvfp4_experts_become_the_mxfp4_that_transformers_writes() -> None:
    source = census("gpt-oss-nvfp4", exclude=["lm_head"])
    plan = make_plan(tiny("target.weights=mxfp4"), source)
    assert written(plan) == layouts.case("gpt-oss-mxfp4")[2]
    assert plan.counts() == {"dequantize": 8, "transcode": 8, "drop": 24 + 8, "keep": len(source.tensors) - 48}
    assert (plan.verdict, plan.lossy) == ("after-change", True)
    assert plan.formats == {"attention": "bf16", "ffn": "mxfp4"}
    assert plan.json_files == {"config.json": {**source.config, "quantization_config": MXFP4_CONFIG}}
    assert plan.copies == ()


@pytest.mark.parametrize(("nvfp4", "mxfp4"), [(GPT_OSS_120B_NVFP4, GPT_OSS_120B)])
def test_the_published_nvfp4_becomes_the_published_mxfp4(nvfp4: str, mxfp4: str) -> None:
    """At full size: names, shapes and dtypes of openai/gpt-oss-120b, whose index states its sum of bytes."""
    transcoded = plan_published(nvfp4, "target.weights=mxfp4")
    assert written(transcoded) == written(plan_published(mxfp4))
    assert transcoded.output_bytes == 65_248_815_744


def test_a_change_that_the_recipe_asks_for_is_not_laid_to_the_target() -> None:
    """A B200 has NVFP4 kernels as well."""
    plan = plan_published(GPT_OSS_120B_NVFP4, "target.weights=mxfp4")
    assert not any("only" in text for text in (plan.why, *plan.reasons.values()))


def test_mxfp4_experts_become_modelopt_s_mlp_only_layout() -> None:
    golden = modelopt_layouts()
    family, geometry, _ = layouts.case("gpt-oss-nvfp4")
    geometry = family.geometry(golden["config"], "golden")
    stored = family.tensors(geometry, Layout("bf16", "mxfp4"))
    config = {**golden["config"], "quantization_config": MXFP4_CONFIG}
    plan = make_plan(tiny("target.weights=nvfp4"), census("gpt-oss-mxfp4", tensors=stored, config=config))
    assert written(plan) == golden["mlp_only"]
    assert (plan.verdict, plan.lossy, plan.formats) == ("after-change", False, {"attention": "bf16", "ffn": "nvfp4"})
    assert plan.counts() == {"cast": 3 * 4, "fill": 4, "keep": len(stored) - 8}
    assert plan.json_files["hf_quant_config.json"]["quantization"] == quant_file(LOADER_EXCLUDES)["quantization"]


def test_input_scales_of_a_cast_are_taken_or_1() -> None:
    source = census("gpt-oss-mxfp4")
    names = [name for name in written(make_plan(tiny("target.weights=nvfp4"), source)) if name.endswith("input_scale")]
    assert len(names) == 4
    filled = make_plan(tiny("target.weights=nvfp4"), source)
    assert {a.value for a in filled.actions if a.output in names} == {1.0}
    taken = make_plan(tiny("target.weights=nvfp4"), source, input_scales=scalars(*names))
    assert written(taken) == written(filled)
    assert [a.borrowed for a in taken.actions if a.kind == "take"] == [(name,) for name in names]
    assert taken.digest != filled.digest
    lacking = scalars(*names[:-1])
    with pytest.raises(CheckpointError) as caught:
        make_plan(tiny("target.weights=nvfp4"), source, input_scales=lacking)
    hint = "Set checkpoint.input_scales to the checkpoint of the same model, or leave it out"
    assert str(caught.value) == f"checkpoint.input_scales: tensor '{names[-1]}' is missing. {hint}"


def test_input_scales_are_taken_for_what_stays_packed_and_not_asked_for_elsewhere() -> None:
    checkpoint = census("gpt-oss-nvfp4", exclude=["lm_head"])
    plan = make_plan(tiny(), checkpoint, input_scales=checkpoint.tensors)
    taken = {action.output for action in plan.actions if action.kind == "take"}
    assert taken == {name for name in checkpoint.tensors if name.endswith("_input_scale")}
    with pytest.raises(CheckpointError, match=r"checkpoint\.input_scales: tensor .* is missing"):
        make_plan(tiny(), checkpoint, input_scales={})


@pytest.mark.parametrize("case", ["llama-nvfp4", "llama-nvfp4-tied", "llama-nvfp4-fp8-kv", "llama-nvfp4-mlp-only"])
def test_llama_becomes_bf16_where_asked(case: str) -> None:
    plan = make_plan(tiny("target.weights=bf16", "target.gpu=h100"), census(case, exclude=["lm_head"]))
    tied = "-tied" if "tied" in case else ""
    assert written(plan) == layouts.case(f"llama-bf16{tied}")[2]
    assert (plan.verdict, plan.lossy, plan.formats) == ("after-change", False, {"attention": "bf16", "ffn": "bf16"})
    assert "quantization_config" not in plan.json_files["config.json"]
    assert "hf_quant_config.json" not in {copy.file for copy in plan.copies}


def test_qwen3_becomes_bf16_where_asked() -> None:
    plan = make_plan(tiny("target.weights=bf16", "target.gpu=h200"), census("qwen3-moe-nvfp4", exclude=["lm_head"]))
    assert written(plan) == layouts.case("qwen3-moe-bf16")[2]


ROUTERS = ["model.layers.0.mlp.gate", "model.layers.1.mlp.gate", "lm_head"]


@pytest.mark.parametrize("release", ["1.0.0", "1.2.1", "1.3.0rc20", "1.4.0rc1"])
@pytest.mark.parametrize(
    ("case", "exclude"),
    [
        ("llama-nvfp4", ["lm_head"]),
        ("llama-nvfp4-fp8-kv", ["lm_head"]),
        ("llama-nvfp4-mlp-only", ["model.layers.*.self_attn*", "lm_head"]),
        ("qwen3-moe-nvfp4", ROUTERS),
        ("llama-bf16", None),
        ("qwen3-moe-bf16", None),
    ],
)
def test_sound_checkpoints_stay_byte_for_byte(case: str, exclude: list[str] | None, release: str) -> None:
    source = census(case, exclude=exclude, files=[INDEX, "generation_config.json", "tokenizer.json", "README.md"])
    plan = make_plan(tiny(f"target.release={release}"), source)
    check_unchanged(plan, len(source.tensors))
    kept = {"config.json", "generation_config.json", INDEX, "tokenizer.json"}
    kept |= {"hf_quant_config.json"} if exclude else set()
    assert {copy.file for copy in plan.copies} == kept
    assert all(copy.origin == "checkpoint" for copy in plan.copies)


@pytest.mark.parametrize("release", ["1.1.0", "1.2.1", "1.4.0rc1"])
def test_openai_s_mxfp4_stays_byte_for_byte(release: str) -> None:
    source = census("gpt-oss-mxfp4", config={"quantization_config": MXFP4_CONFIG})
    check_unchanged(make_plan(tiny(f"target.release={release}"), source), len(source.tensors))


def check_unchanged(plan: Plan, tensors: int) -> None:
    assert (plan.verdict, plan.json_files, plan.counts()) == ("loads", {}, {"keep": tensors})
    assert plan.why == "Every tensor already has the layout that the loader builds."


def test_bf16_attention_with_any_list_is_enough_for_the_gpt_oss_loader(shared_fixtures: Path) -> None:
    """It replaces every list but an empty one by its own."""
    tensors = modelopt_layouts()["mlp_only"]
    config = modelopt_layouts()["config"]
    check_unchanged(make_plan(cpu_recipe(*B200), census_of(shared_fixtures / MLP_ONLY)), len(tensors))
    listed = make_plan(tiny(), census("gpt-oss-nvfp4", tensors=tensors, config=config, exclude=["lm_head"]))
    check_unchanged(listed, len(tensors))
    empty = make_plan(tiny(), census("gpt-oss-nvfp4", tensors=tensors, config=config, exclude=[]))
    assert (empty.verdict, empty.counts()) == ("after-change", {"keep": len(tensors)})
    assert empty.json_files["hf_quant_config.json"] == quant_file(LOADER_EXCLUDES)
    assert empty.why == "The release needs config.json and hf_quant_config.json rewritten; the weights stay."
    twice = census("gpt-oss-nvfp4", tensors=tensors, config=config, exclude=["lm_head", "lm_head"])
    assert make_plan(tiny(), twice).json_files["hf_quant_config.json"] == quant_file(LOADER_EXCLUDES)


def test_a_repeated_entry_goes_from_both_files() -> None:
    """ModelOpt 0.39 writes lm_head twice."""
    plan = make_plan(tiny(), census("llama-nvfp4", exclude=["lm_head", "lm_head"]))
    assert plan.verdict == "after-change"
    assert set(plan.counts()) == {"keep"}
    assert plan.json_files["hf_quant_config.json"] == quant_file(["lm_head"])
    assert plan.json_files["config.json"]["quantization_config"] == inline_quant(["lm_head"])


def test_what_is_listed_and_quantised_goes_from_the_list() -> None:
    plan = make_plan(tiny(), census("llama-nvfp4", exclude=["model.layers.0.mlp.up_proj", "lm_head"]))
    assert set(plan.counts()) == {"keep"}
    assert plan.json_files["hf_quant_config.json"] == quant_file(["lm_head"])


@pytest.mark.parametrize(
    ("release", "reads_inline"),
    [
        ("1.0.0", False),
        ("1.1.0", False),
        ("1.2.1", False),
        ("1.3.0rc20", False),
        ("1.3.0rc22", True),
        ("1.4.0rc1", True),
    ],
)
def test_a_missing_hf_quant_config_is_written_for_releases_that_read_nothing_else(
    release: str, reads_inline: bool
) -> None:
    """1.0 to 1.2 raise NotImplementedError for a ModelOpt checkpoint without it; since when not is not known."""
    source = census("llama-nvfp4", exclude=["lm_head"], own=False)
    plan = make_plan(tiny(f"target.release={release}"), source)
    if reads_inline:
        check_unchanged(plan, len(source.tensors))
    else:
        assert plan.verdict == "after-change"
        assert plan.json_files["hf_quant_config.json"] == quant_file(["lm_head"])
        assert set(plan.counts()) == {"keep"}


@pytest.mark.parametrize("release", ["1.2.1", "1.4.0rc1"])
def test_a_checkpoint_that_says_nothing_of_its_quantisation_is_told_to(release: str) -> None:
    plan = make_plan(tiny(f"target.release={release}"), census("llama-nvfp4"))
    said = quant_file(["*.mlp.gate", "lm_head"])
    assert plan.json_files == {"hf_quant_config.json": {**said, "producer": {"name": "modelopt"}}}
    assert set(plan.counts()) == {"keep"}


def test_the_json_of_a_gpt_oss_export(sample: Path) -> None:
    source = census_of(sample)
    plan = make_plan(cpu_recipe(*B200), source)
    files = plan.json_files
    layers = source.config["num_hidden_layers"]
    exclude = [
        module for n in range(layers) for module in (f"model.layers.{n}.self_attn*", f"model.layers.{n}.mlp.router")
    ] + ["model.embed_tokens", "lm_head"]
    assert files["hf_quant_config.json"] == quant_file(exclude)
    before, after = dict(source.config), dict(files["config.json"])
    old, new = before.pop("quantization_config"), after.pop("quantization_config")
    assert after == before
    assert new == {**old, "ignore": exclude}
    assert set(files[INDEX]["weight_map"]) == set(written(plan))
    assert list(files) == ["config.json", "hf_quant_config.json", INDEX]


def test_the_kv_cache_algorithm_survives_wherever_it_is_said() -> None:
    scheme = {"dynamic": False, "num_bits": 8, "type": "float"}
    config = {"quantization_config": {**inline_quant(["lm_head"]), "kv_cache_scheme": scheme}}
    source = census("gpt-oss-nvfp4", config=config)
    plan = make_plan(tiny(), source)
    assert plan.json_files["hf_quant_config.json"]["quantization"]["kv_cache_quant_algo"] == "FP8"
    assert plan.json_files["config.json"]["quantization_config"]["kv_cache_scheme"] == scheme


def test_the_published_120b_checkpoint_is_planned_without_a_download() -> None:
    """Totals of the two layouts were computed from the published geometry before this code existed."""
    plan = plan_published(GPT_OSS_120B_NVFP4)
    assert (len(written(plan)), plan.output_bytes) == (831, 68_831_997_120)
    assert plan.counts() == {"keep": 687, "dequantize": 144, "drop": 432}
    assert plan.predicted
    assert plan.json_files == dict.fromkeys(["config.json", "hf_quant_config.json", INDEX])
    assert plan.kernel == "TRTLLM (NVFP4)"


@pytest.mark.parametrize(
    ("repo", "kernel"),
    [
        (LLAMA_8B, "CUTLASS (NVFP4)"),
        (QWEN3_30B, "CUTLASS (NVFP4)"),
        (GPT_OSS_20B, "TRTLLM (W4A8_MXFP4_MXFP8)"),
    ],
)
def test_published_checkpoints_load_as_they_are(repo: str, kernel: str) -> None:
    plan = plan_published(repo)
    assert (plan.verdict, set(plan.counts()), plan.kernel) == ("loads", {"keep"}, kernel)
    assert plan.predicted


def test_what_settles_a_doubt_in_the_container() -> None:
    """Whether 1.2.1 has the loader is not known from outside; where no NVFP4 experts are loaded nobody asks."""
    asked = plan_published(GPT_OSS_120B_NVFP4).confirm
    assert asked is not None
    assert "load_nvfp4_weights" in asked
    for repo, *overrides in ((GPT_OSS_120B,), (LLAMA_8B,), (GPT_OSS_120B_NVFP4, "target.gpu=h200")):
        assert plan_published(repo, *overrides).confirm is None


def test_every_plan_says_which_fact_decided() -> None:
    plan = plan_published(GPT_OSS_120B_NVFP4)
    statements = [fact.statement for fact in plan.evidence]
    assert "exclude" in statements[0] or "BF16" in statements[0]
    assert any("load_nvfp4_weights" in statement for statement in statements)
    assert any("MoE" in statement or "TRTLLM" in statement for statement in statements)
    assert all(fact.source and fact.checked for fact in plan.evidence)
    assert len(set(plan.evidence)) == len(plan.evidence)


def test_the_tokenizer_goes_along(sample: Path) -> None:
    plan = make_plan(cpu_recipe(*B200), census_of(sample))
    assert Copy("checkpoint", "tokenizer.json") in plan.copies
    assert not {copy.file for copy in plan.copies} & set(plan.json_files)


def test_the_plan_of_the_checkpoint_from_the_headers_of_bf16_source(shared_fixtures: Path) -> None:
    """A BF16 gpt-oss loads as it is where there is a kernel, and says how to make it FP4."""
    plan = make_plan(cpu_recipe(*B200), census_of(shared_fixtures / "tiny-gpt-oss-bf16"))
    assert (plan.verdict, plan.contested) == ("loads", True)
    assert any("quantise them with ModelOpt" in note.what for note in plan.notes)


def test_an_input_scale_of_the_wrong_kind_is_named() -> None:
    info = TensorInfo("x", "BF16", (), "a", 0, 2)
    names = [f"model.layers.{n}.mlp.experts.{w}_proj_input_scale" for n in range(2) for w in ("gate_up", "down")]
    with pytest.raises(CheckpointError, match=r"input_scale': is BF16 \[\], not F32 \[\]"):
        make_plan(tiny("target.weights=nvfp4"), census("gpt-oss-mxfp4"), input_scales=dict.fromkeys(names, info))


def test_a_plan_is_json(sample: Path) -> None:
    plan = make_plan(cpu_recipe(*B200), census_of(sample))
    assert json.loads(json.dumps(plan.to_dict()))["verdict"] == "after-change"

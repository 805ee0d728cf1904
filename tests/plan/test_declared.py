"""Loaders go by the JSON: what it says against what the tensors are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from tests.models import layouts
from tests.plan.cases import census, inline_quant, quant_file, tiny, whats, written
from toolkit.checkpoint.census import Census
from toolkit.checkpoint.quant import quant_summary
from toolkit.models.layout import Layout
from toolkit.plan import Plan, make_plan
from toolkit.trtllm import load_targets

ON_B200 = "target.release=1.3.0rc22"


def saying(case: str, algo: str | None, *, tensors: Mapping[str, Any] | None = None, **more: Any) -> Census:
    """``case`` with ``quant_algo`` in both files, and ``more`` in the one of its own."""
    source = census(case, exclude=["lm_head"], tensors=tensors)
    own = quant_file(["lm_head"])
    own["quantization"] |= {"quant_algo": algo, **more}
    config = {**source.config, "quantization_config": {**inline_quant(["lm_head"]), "quant_algo": algo}}
    return replace(source, config=config, quant_config=own, quant=quant_summary(config, own, case))


def mixed() -> dict[str, Any]:
    """FP8 attention and NVFP4 FFN."""
    family, geometry, _ = layouts.case("llama-nvfp4")
    return family.tensors(geometry, Layout("fp8", "nvfp4"))


def ffn_only() -> dict[str, Any]:
    family, geometry, _ = layouts.case("llama-nvfp4")
    return family.tensors(geometry, Layout("nvfp4", "bf16"))


def plan(source: Census, *overrides: str) -> Plan:
    return make_plan(tiny(ON_B200, *overrides), source)


@pytest.mark.parametrize("algo", ["FP8", "INT4", None, "no_quant"])
def test_an_algorithm_that_the_tensors_are_not_is_rewritten(algo: str | None) -> None:
    found = plan(saying("llama-nvfp4", algo))
    assert (found.verdict, found.counts().keys()) == ("after-change", {"keep"})
    assert found.json_files["hf_quant_config.json"] == quant_file(["lm_head"])
    assert found.json_files["config.json"]["quantization_config"] == inline_quant(["lm_head"])
    said = (algo or "nothing").upper() if algo not in (None, "no_quant") else "nothing"
    assert any(f"quant_algo says {said}, the tensors are NVFP4" in note.what for note in found.notes)


def test_a_group_size_that_the_tensors_have_not_is_rewritten() -> None:
    found = plan(saying("llama-nvfp4", "NVFP4", group_size=32))
    assert found.json_files["hf_quant_config.json"] == quant_file(["lm_head"])


@pytest.mark.parametrize("algo", ["W4A16_NVFP4", "NVFP4_AWQ", "W4A8_AWQ", "NVFP4_SVD", "W4A8_NVFP4_FP8"])
@pytest.mark.parametrize("case", ["llama-nvfp4", "gpt-oss-nvfp4"])
def test_another_method_s_nvfp4_is_not_plain_nvfp4(case: str, algo: str) -> None:
    found = plan(saying(case, algo))
    [refusal] = found.refusals
    assert algo in refusal.what
    other = "mxfp4" if case.startswith("gpt-oss") else "bf16"
    assert refusal.ways_out[0] == f"Set target.weights={other}"
    assert refusal.evidence.status == "inferred"
    after = plan(saying(case, algo), f"target.weights={other}")
    assert (after.verdict, after.formats["ffn"]) == ("after-change", other)


def test_weight_only_is_not_filled_up_to_w4a4() -> None:
    """Without input scales, as W4A16_NVFP4 is exported."""
    tensors = {name: spec for name, spec in layouts.case("llama-nvfp4")[2].items() if "input_scale" not in name}
    source = saying("llama-nvfp4", "W4A16_NVFP4", tensors=tensors)
    assert whats(plan(source)) == [
        "quant_algo is W4A16_NVFP4: the weights are NVFP4, but activations were not calibrated"
    ]
    assert written(plan(source, "target.weights=bf16")) == layouts.case("llama-bf16")[2]


@pytest.mark.parametrize(
    ("inline", "verdict"),
    [
        ({"quant_method": "modelopt"}, "loads"),
        ({"producer": {"name": "modelopt"}}, "loads"),
        ({"quant_method": "nvfp4"}, "loads"),
        ({}, "after-change"),
        ({"producer": {"name": "another"}}, "after-change"),
    ],
)
def test_a_block_that_no_loader_recognises_gets_the_file_of_its_own(inline: dict[str, Any], verdict: str) -> None:
    said = {"quant_algo": "NVFP4", "ignore": ["lm_head"], **inline}
    config = {"quantization_config": said}
    source = census("llama-nvfp4", config=config)
    found = plan(source)
    assert found.verdict == verdict
    assert ("hf_quant_config.json" in found.json_files) == (verdict == "after-change")
    older = make_plan(tiny("target.release=1.2.1"), source)
    assert older.verdict == "after-change"
    assert load_targets().release("1.2.1").fact("quant-config").statement == older.evidence[0].statement
    recognised = load_targets().fact("inline-recognised").statement
    assert (recognised in {fact.statement for fact in found.evidence}) == (verdict == "after-change")


def test_mixed_precision_is_kept_whole() -> None:
    layers = {"model.layers.0.mlp.up_proj": {"quant_algo": "NVFP4", "group_size": 16}}
    source = saying("llama-nvfp4", "MIXED_PRECISION", tensors=mixed(), quantized_layers=layers)
    found = plan(source)
    assert (found.verdict, dict(found.json_files), found.formats) == ("loads", {}, {"attention": "fp8", "ffn": "nvfp4"})
    assert "hf_quant_config.json" in {copy.file for copy in found.copies}


def test_two_formats_need_mixed_precision() -> None:
    assert whats(plan(saying("llama-nvfp4", "NVFP4", tensors=mixed()))) == [
        "attention is FP8 and the FFN NVFP4, but quant_algo is NVFP4, not MIXED_PRECISION"
    ]


def test_fp8_attention_does_not_become_bf16_by_dropping_the_json() -> None:
    source = saying("llama-nvfp4", "MIXED_PRECISION", tensors=mixed())
    found = plan(source, "target.weights=bf16")
    assert whats(found) == ["the checkpoint's weights are NVFP4 and FP8, and BF16 cannot be made from them"]


def test_mixed_precision_of_gpt_oss_is_not_made_plain_nvfp4() -> None:
    source = saying("gpt-oss-nvfp4", "MIXED_PRECISION", quantized_layers={})
    [refusal] = plan(source).refusals
    assert "quantized_layers" in refusal.what
    assert refusal.ways_out[0] == "Set target.weights=mxfp4"


def test_what_else_the_json_has_stays() -> None:
    source = saying("gpt-oss-nvfp4", "NVFP4", kv_cache_quant_algo="FP8", has_zero_point=False)
    found = plan(source).json_files["hf_quant_config.json"]["quantization"]
    assert (found["kv_cache_quant_algo"], found["has_zero_point"], found["quant_algo"]) == ("FP8", False, "NVFP4")


def test_attention_alone_in_nvfp4_becomes_bf16_too() -> None:
    source = census("llama-nvfp4", tensors=ffn_only(), exclude=["*mlp*", "lm_head"])
    assert plan(source).verdict == "loads"
    found = plan(source, "target.weights=bf16")
    assert (written(found), found.formats) == (layouts.case("llama-bf16")[2], {"attention": "bf16", "ffn": "bf16"})
    assert "quantization_config" not in found.json_files["config.json"]


def test_bf16_tensors_under_json_that_says_nvfp4() -> None:
    found = plan(census("llama-bf16", exclude=["lm_head"]))
    assert found.verdict == "after-change"
    assert "quantization_config" not in found.json_files["config.json"]
    assert "hf_quant_config.json" not in {copy.file for copy in found.copies}


@pytest.mark.parametrize(
    ("case", "weights", "dtype"),
    [
        ("llama-nvfp4-fp8-kv", "auto", "fp8"),
        ("llama-nvfp4-fp8-kv", "bf16", "bf16"),
        ("gpt-oss-nvfp4", "nvfp4", "fp8"),
        ("gpt-oss-nvfp4", "mxfp4", "bf16"),
    ],
)
def test_the_kv_cache_is_what_the_written_json_says(case: str, weights: str, dtype: str) -> None:
    source = census(case, exclude=["lm_head"], kv="FP8")
    found = plan(source, f"target.weights={weights}")
    assert found.memory is not None
    assert found.memory.kv_dtype == dtype
    own = found.json_files.get("hf_quant_config.json", source.quant_config)
    declared = own["quantization"]["kv_cache_quant_algo"] if found.formats["ffn"] == "nvfp4" else None
    assert (declared is not None) == (dtype != "bf16")
    scales = [name for name in written(found) if name.endswith(("k_scale", "v_scale"))]
    assert bool(scales) == ("kv" in case and dtype == "fp8")


FORMATS = ("bf16", "fp8", "nvfp4")
SAID: dict[Any, str] = {frozenset(): "none", frozenset({"fp8"}): "FP8", frozenset({"nvfp4"}): "NVFP4"}


@pytest.mark.parametrize("weights", ["auto", "nvfp4", "mxfp4", "bf16"])
@pytest.mark.parametrize("algo", ["NVFP4", "FP8", "MIXED_PRECISION", None])
def test_a_plan_that_loads_is_all_in_its_formats_and_its_json_says_so(weights: str, algo: str | None) -> None:
    """Every layout of Llama, whatever its JSON says: tensors, formats and JSON of a bundle agree, or it is refused."""
    family, geometry, _ = layouts.case("llama-nvfp4")
    for attention, ffn in product(FORMATS, FORMATS):
        source = saying("llama-nvfp4", algo, tensors=family.tensors(geometry, Layout(attention, ffn)))
        found = plan(source, f"target.weights={weights}")
        if found.refusals:
            assert all(refusal.ways_out and refusal.evidence.checked for refusal in found.refusals)
            continue
        bundle = Layout(found.formats["attention"], found.formats["ffn"])  # type: ignore[arg-type]
        assert written(found) == family.tensors(geometry, bundle)
        config = found.json_files.get("config.json", source.config)
        copied = "hf_quant_config.json" in {copy.file for copy in found.copies}
        own = found.json_files.get("hf_quant_config.json", source.quant_config if copied else None)
        quant = quant_summary(config, own, "bundle")
        says = (quant.algo if quant else None) or "none"
        formats = frozenset({bundle.attention, bundle.ffn} - {"bf16"})
        assert says in (SAID.get(formats, "MIXED_PRECISION"), "MIXED_PRECISION" if formats else "modelopt")

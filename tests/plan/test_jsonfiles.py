from __future__ import annotations

from dataclasses import replace

from tests.models import layouts
from tests.plan.cases import PRODUCER, census, inline_quant, quant_file, tiny, written
from toolkit import __version__
from toolkit.models.gpt_oss import MXFP4_CONFIG
from toolkit.models.layout import Layout
from toolkit.plan import make_plan
from toolkit.plan.jsonfiles import JsonFiles, rewritten
from toolkit.plan.types import Action, ShardPlan

NVFP4, LOADED, MXFP4 = Layout("nvfp4", "nvfp4"), Layout("bf16", "nvfp4"), Layout("bf16", "mxfp4")
KEPT = (ShardPlan(layouts.SHARD, (Action("keep", ("a",), "a", "F32", (), "same"),)),)
INDEX = "model.safetensors.index.json"


def test_nothing_is_rewritten_where_nothing_needs_it() -> None:
    source = census("llama-nvfp4", exclude=["lm_head"], files=[INDEX])
    assert rewritten(source, NVFP4, NVFP4, None, KEPT) == JsonFiles({})
    plain = census("llama-bf16", files=[INDEX])
    assert rewritten(plain, Layout("bf16", "bf16"), Layout("bf16", "bf16"), None, KEPT) == JsonFiles({})
    openai = census("gpt-oss-mxfp4", config={"quantization_config": MXFP4_CONFIG})
    assert rewritten(openai, MXFP4, MXFP4, None, KEPT) == JsonFiles({})


def test_a_new_exclude_list_goes_into_both_files_and_leaves_all_else() -> None:
    source = census("gpt-oss-nvfp4", exclude=["lm_head"], kv="FP8", config={"rope_theta": 150000.0})
    scheme = {"kv_cache_scheme": {"num_bits": 8, "type": "float"}}
    config = {**source.config, "quantization_config": {**inline_quant(["lm_head"]), **scheme}}
    found = rewritten(replace(source, config=config), NVFP4, LOADED, ("a", "b"), KEPT)
    assert found == JsonFiles(
        {
            "config.json": {**config, "quantization_config": {**inline_quant(["a", "b"]), **scheme}},
            "hf_quant_config.json": quant_file(["a", "b"], "FP8"),
        }
    )


def test_an_export_without_the_inline_block_gets_none() -> None:
    source = census("gpt-oss-nvfp4", exclude=["lm_head"], inline=False)
    assert rewritten(source, NVFP4, LOADED, ("a",), KEPT) == JsonFiles({"hf_quant_config.json": quant_file(["a"])})


def test_a_missing_hf_quant_config_is_made_from_the_inline_block() -> None:
    source = census("llama-nvfp4", exclude=["lm_head"], own=False)
    files = rewritten(source, NVFP4, NVFP4, ("lm_head",), KEPT).files
    assert files == {"hf_quant_config.json": quant_file(["lm_head"]), "config.json": source.config}


def test_a_cast_says_that_trtkit_made_it() -> None:
    source = census("gpt-oss-mxfp4", config={"quantization_config": MXFP4_CONFIG})
    producer = {"name": "trtkit", "version": __version__}
    found = rewritten(source, MXFP4, LOADED, ("a",), KEPT)
    assert found == JsonFiles(
        {
            "config.json": {**source.config, "quantization_config": {**inline_quant(["a"]), "producer": producer}},
            "hf_quant_config.json": {**quant_file(["a"]), "producer": producer},
        }
    )


def test_a_transcode_speaks_as_openai_s_config() -> None:
    source = census("gpt-oss-nvfp4", exclude=["lm_head"])
    found = rewritten(source, NVFP4, MXFP4, None, KEPT)
    assert found.dropped == ("hf_quant_config.json",)
    assert found.files == {"config.json": {**source.config, "quantization_config": MXFP4_CONFIG}}


def test_bf16_weights_have_no_quantisation() -> None:
    source = census("llama-nvfp4", exclude=["lm_head"])
    found = rewritten(source, NVFP4, Layout("bf16", "bf16"), None, KEPT)
    bare = {key: value for key, value in source.config.items() if key != "quantization_config"}
    assert found == JsonFiles({"config.json": bare}, ("hf_quant_config.json",))


def test_the_index_lists_what_is_written() -> None:
    source = census("gpt-oss-nvfp4", exclude=["lm_head"], files=[INDEX])
    plan = make_plan(tiny(), source)
    index = plan.json_files[INDEX]
    assert index == {
        "metadata": {"total_size": plan.output_bytes},
        "weight_map": dict.fromkeys(sorted(written(plan)), layouts.SHARD),
    }
    assert list(index["weight_map"]) == sorted(written(plan))
    assert INDEX not in make_plan(tiny(), census("gpt-oss-nvfp4", exclude=["lm_head"])).json_files


def test_the_producer_is_kept_wherever_it_stands() -> None:
    source = census("gpt-oss-nvfp4", exclude=["lm_head"], own=False)
    assert rewritten(source, NVFP4, LOADED, ("a",), KEPT).files["hf_quant_config.json"]["producer"] == PRODUCER

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit import recipe
from toolkit.checkpoint.census import Census, take_census
from toolkit.checkpoint.header import TensorInfo
from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import CheckpointError, PlanError
from toolkit.models.gpt_oss import Geometry
from toolkit.models.known import predicted_census
from toolkit.models.layout import Layout
from toolkit.plan import Action, Copy, Plan, make_plan
from toolkit.plan.refusals import refuse
from toolkit.trtllm import load_targets

B200 = ("target.runtime=tensorrt-llm", "target.release=1.2.1", "target.gpu=b200")


def load(root: Path, *overrides: str) -> recipe.Recipe:
    return recipe.load(root / "recipes/tiny-gpt-oss/cpu.yaml", overrides)


def census_of(folder: Path) -> Census:
    with Checkpoint.open(folder) as source:
        return take_census(source)


def written(plan: Plan) -> dict[str, tuple[str | None, tuple[int, ...]]]:
    return {str(a.output): (a.dtype, a.shape) for a in plan.actions if a.output is not None}


def test_cpu_keeps_everything(root: Path, sample: Path) -> None:
    census = census_of(sample)
    plan = make_plan(load(root), census)
    assert plan.verdict == "loads"
    assert plan.counts() == {"keep": len(census.tensors)}
    assert {name: (t.dtype, t.shape) for name, t in census.tensors.items()} == written(plan)
    assert (plan.json_files, plan.llm_args, plan.refusals, plan.confirm) == ({}, None, (), None)
    assert all(shard.unchanged for shard in plan.shards)
    assert Copy("checkpoint", "tokenizer.json") in plan.copies


def test_b200_needs_attention_in_bf16(root: Path, sample: Path) -> None:
    census = census_of(sample)
    plan = make_plan(load(root, *B200), census)
    layers = census.config["num_hidden_layers"]
    assert plan.verdict == "after-change"
    assert plan.counts() == {
        "dequantize": 4 * layers,
        "drop": 12 * layers,
        "keep": len(census.tensors) - 16 * layers,
    }
    name = "model.layers.0.self_attn.o_proj.weight"
    [action] = [a for a in plan.actions if a.output == name]
    assert action == Action(
        kind="dequantize",
        inputs=(name, f"{name}_scale", f"{name}_scale_2"),
        output=name,
        dtype="BF16",
        shape=(census.config["hidden_size"], 12 * 32),
        reason="bf16-attention",
    )
    assert not any("self_attn" in str(a.output) and "scale" in str(a.output) for a in plan.actions)


def test_b200_output_is_what_modelopt_writes_with_bf16_attention(root: Path, shared_fixtures: Path) -> None:
    """NVFP4_MLP_ONLY_CFG is the layout that the loader expects, so ModelOpt's own export is the oracle."""
    wanted = census_of(shared_fixtures / "tiny-gpt-oss-nvfp4-mlponly-modelopt-0.37").tensors
    for source in ("tiny-gpt-oss-nvfp4-modelopt-0.37", "tiny-gpt-oss-nvfp4-sharded-modelopt-0.37"):
        plan = make_plan(load(root, *B200), census_of(shared_fixtures / source))
        assert written(plan) == {name: (t.dtype, t.shape) for name, t in wanted.items()}


def test_b200_output_is_the_layout_of_modelopts_mlp_only_export(root: Path) -> None:
    """The same oracle as above, from the committed headers of both exports."""
    golden = json.loads((Path(__file__).parent / "modelopt_layouts.json").read_text())
    infos = {
        name: TensorInfo(name, dtype, tuple(shape), "model.safetensors", index, index)
        for index, (name, (dtype, shape)) in enumerate(golden["default"].items())
    }
    config = golden["config"]
    census = Census(
        where="golden",
        architecture="GptOssForCausalLM",
        config=config,
        quant_config=None,
        quant=None,
        tensors=infos,
        shards={"model.safetensors": 0},
        files=("config.json",),
    )
    plan = make_plan(load(root, *B200), census)
    assert written(plan) == {name: (dtype, tuple(shape)) for name, (dtype, shape) in golden["mlp_only"].items()}


def test_b200_json_files(root: Path, sample: Path) -> None:
    census = census_of(sample)
    files = make_plan(load(root, *B200), census).json_files
    layers = census.config["num_hidden_layers"]
    exclude = [
        module for n in range(layers) for module in (f"model.layers.{n}.self_attn*", f"model.layers.{n}.mlp.router")
    ] + ["model.embed_tokens", "lm_head"]
    assert files["hf_quant_config.json"] == {
        "producer": {"name": "modelopt", "version": "0.37.0"},
        "quantization": {
            "quant_algo": "NVFP4",
            "kv_cache_quant_algo": None,
            "group_size": 16,
            "exclude_modules": exclude,
        },
    }
    before, after = dict(census.config), dict(files["config.json"])
    old, new = before.pop("quantization_config"), after.pop("quantization_config")
    assert after == before
    assert new == {**old, "ignore": exclude}
    index = files["model.safetensors.index.json"]
    assert set(index["weight_map"]) == set(written(make_plan(load(root, *B200), census)))


def test_the_kv_cache_algorithm_survives_wherever_it_is_said(root: Path, sample: Path, tmp_path: Path) -> None:
    inline = json.loads((sample / "config.json").read_text())["quantization_config"]
    scheme = {"dynamic": False, "num_bits": 8, "type": "float"}
    folder = with_config(tmp_path / "c", sample, quantization_config={**inline, "kv_cache_scheme": scheme})
    (folder / "hf_quant_config.json").unlink()
    plan = make_plan(load(root, *B200), census_of(folder))
    assert plan.json_files["hf_quant_config.json"]["quantization"]["kv_cache_quant_algo"] == "FP8"
    assert plan.json_files["config.json"]["quantization_config"]["kv_cache_scheme"] == scheme


def test_the_tokenizer_folder_takes_the_place_of_the_checkpoint_s(root: Path, sample: Path) -> None:
    census = census_of(sample)
    own = load(root, "checkpoint.tokenizer=words")
    names = ("tokenizer.json", "chat_template.jinja")
    copies = make_plan(own, census, tokenizer_files=("README.md", *names)).copies
    assert [copy.file for copy in copies if copy.origin == "tokenizer"] == list(names)
    assert [copy.file for copy in copies if copy.origin == "checkpoint"] == [
        "config.json",
        "generation_config.json",
        "hf_quant_config.json",
        "model.safetensors.index.json",
    ]
    with pytest.raises(PlanError) as caught:
        make_plan(own, census, tokenizer_files=names[1:])
    hint = "Set checkpoint.tokenizer to a folder that has one"
    assert str(caught.value) == f"words: there is no tokenizer.json. {hint}"


def test_a_predicted_plan_is_held_to_the_model_s_context(root: Path) -> None:
    census = predicted_census("Firworks/gpt-oss-120b-nvfp4")
    assert census is not None
    too_long = recipe.load(root / "recipes/gpt-oss-120b/b200.yaml", ["engine.max_seq_len=131073"])
    with pytest.raises(PlanError, match=r"hub:Firworks/gpt-oss-120b-nvfp4.* context of 131072 tokens"):
        make_plan(too_long, census, predicted=True)


def test_b200_llm_args(root: Path, sample: Path) -> None:
    plan = make_plan(
        load(root, *B200, "engine.kv_cache_dtype=fp8", "target.parallel.attention_dp=true"), census_of(sample)
    )
    assert plan.llm_args == {
        "backend": "pytorch",
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "moe_expert_parallel_size": 1,
        "enable_attention_dp": True,
        "max_batch_size": 32,
        "max_num_tokens": 512,
        "max_seq_len": 2048,
        "cuda_graph_config": {"enable_padding": True, "max_batch_size": 32},
        "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.85},
        "moe_config": {"backend": "TRTLLM"},
        "stream_interval": 1,
    }
    assert plan.confirm is not None
    assert "load_nvfp4_weights" in plan.confirm


def test_a_checkpoint_with_bf16_attention_loads_as_it_is(root: Path, shared_fixtures: Path) -> None:
    plan = make_plan(load(root, *B200), census_of(shared_fixtures / "tiny-gpt-oss-nvfp4-mlponly-modelopt-0.37"))
    assert plan.verdict == "loads"
    assert set(plan.counts()) == {"keep"}


def test_the_published_120b_checkpoint_is_planned_without_a_download(root: Path) -> None:
    """Totals of the two layouts were computed from the published geometry before this code existed."""
    census = predicted_census("Firworks/gpt-oss-120b-nvfp4")
    assert census is not None
    assert (len(census.tensors), sum(t.nbytes for t in census.tensors.values())) == (1263, 67_458_445_632)
    plan = make_plan(recipe.load(root / "recipes/gpt-oss-120b/b200.yaml"), census, predicted=True)
    assert (len(written(plan)), plan.output_bytes) == (831, 68_831_997_120)
    assert plan.counts() == {"keep": 687, "dequantize": 144, "drop": 432}
    assert plan.llm_args is not None
    assert plan.llm_args["kv_cache_config"] == {"dtype": "fp8", "free_gpu_memory_fraction": 0.85}


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (("target.gpu=rtx-5090",), "no MoE backend of TensorRT-LLM runs NVFP4 gpt-oss on rtx-5090 (SM120)"),
        (("target.gpu=h200",), "no MoE backend of TensorRT-LLM runs NVFP4 gpt-oss on h200 (SM90)"),
        (("target.release=1.1.0",), "TensorRT-LLM 1.1.0 has no gpt-oss NVFP4 loader"),
        (("target.release=1.0.0",), "TensorRT-LLM 1.0.0 has no gpt-oss model"),
        (("target.parallel.pp=2",), "gpt-oss has no pipeline parallelism"),
        (("target.parallel.tp=8",), "MoE tensor parallel 8 gives 360 channels a rank, which splits NVFP4 groups of 16"),
    ],
)
def test_refusals_for_120b(root: Path, overrides: tuple[str, ...], what: str) -> None:
    census = predicted_census("Firworks/gpt-oss-120b-nvfp4")
    assert census is not None
    plan = make_plan(recipe.load(root / "recipes/gpt-oss-120b/b200.yaml", overrides), census)
    assert plan.verdict == "refused"
    assert [refusal.what for refusal in plan.refusals] == [what]
    assert plan.refusals[0].way_out
    assert plan.shards == ()


@pytest.mark.parametrize(
    ("layout", "refused"),
    [
        (
            {"tp": 48, "ep": 48},
            [
                (
                    "tensor parallel 48 does not split 64 attention and 8 KV heads evenly",
                    "Choose target.parallel.tp among 1, 2, 4, 8, 16, 32, 64, or set target.parallel.attention_dp=true",
                ),
                (
                    "expert parallel 48 does not split 128 experts evenly",
                    "With tp 48, choose target.parallel.ep among 1, 2, 4, 8, 16",
                ),
            ],
        ),
        (
            {"tp": 3, "ep": 3, "attention_dp": "true"},
            [
                (
                    "expert parallel 3 does not split 128 experts evenly",
                    "With tp 3, choose target.parallel.ep among 1",
                )
            ],
        ),
        (
            {"tp": 8},
            [
                (
                    "MoE tensor parallel 8 gives 360 channels a rank, which splits NVFP4 groups of 16",
                    "Choose tp / ep among 1, 2, 4: raise target.parallel.ep",
                )
            ],
        ),
    ],
)
def test_layouts_that_split_what_cannot_be_split(
    root: Path, layout: dict[str, object], refused: list[tuple[str, str]]
) -> None:
    census = predicted_census("Firworks/gpt-oss-120b-nvfp4")
    assert census is not None
    overrides = [f"target.parallel.{key}={value}" for key, value in layout.items()]
    plan = make_plan(recipe.load(root / "recipes/gpt-oss-120b/b200.yaml", overrides), census)
    assert [(refusal.what, refusal.way_out) for refusal in plan.refusals] == refused
    assert all(refusal.source for refusal in plan.refusals)


def test_pipeline_parallelism_is_the_loader_s_to_refuse(root: Path, sample: Path) -> None:
    targets = load_targets()
    able = targets.gpt_oss_nvfp4.model_copy(update={"pipeline_parallel": True})
    target = load(root, *B200, "target.parallel.pp=2").target
    geometry, layout = Geometry.from_config(census_of(sample).config, "sample"), Layout("nvfp4", "nvfp4")
    assert [refusal.what for refusal in refuse(target, geometry, layout, targets)] == [
        "gpt-oss has no pipeline parallelism"
    ]
    assert refuse(target, geometry, layout, targets.model_copy(update={"gpt_oss_nvfp4": able})) == ()


def test_kv_heads_are_split_or_copied(root: Path, sample: Path) -> None:
    """The sample has 12 heads and 3 KV heads: 2 ranks divide the first and not the second; 6 hold each KV head
    twice.
    """
    census = census_of(sample)

    def refused(tp: int, *more: str) -> list[str]:
        overrides = (f"target.parallel.tp={tp}", f"target.parallel.ep={1 if tp > 2 else tp}", *more)
        plan = make_plan(load(root, *B200, *overrides), census)
        return [refusal.what for refusal in plan.refusals if "KV heads" in refusal.what]

    assert refused(2) == ["tensor parallel 2 does not split 12 attention and 3 KV heads evenly"]
    assert refused(2, "target.parallel.attention_dp=true") == []
    assert (refused(1), refused(3), refused(6), refused(12)) == ([], [], [], [])


@pytest.mark.parametrize(("tp", "ep"), [(2, 1), (4, 1), (8, 2), (8, 8), (16, 16)])
def test_legal_layouts_for_120b(root: Path, tp: int, ep: int) -> None:
    census = predicted_census("Firworks/gpt-oss-120b-nvfp4")
    assert census is not None
    overrides = (f"target.parallel.tp={tp}", f"target.parallel.ep={ep}")
    assert not make_plan(recipe.load(root / "recipes/gpt-oss-120b/b200.yaml", overrides), census).refusals


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("target.gpu=b20", "target.gpu: unknown GPU 'b20'. Did you mean 'b200'?"),
        (
            "target.release=9",
            "target.release: unknown TensorRT-LLM release '9'. "
            "Known: 1.0.0, 1.1.0, 1.2.0, 1.2.1, 1.3.0rc0 to rc29, 1.4.0rc0, 1.4.0rc1",
        ),
    ],
)
def test_unknown_targets(root: Path, sample: Path, override: str, expected: str) -> None:
    with pytest.raises(PlanError) as caught:
        make_plan(load(root, *B200, override), census_of(sample))
    assert str(caught.value) == expected


def with_config(folder: Path, source: Path, **changes: Any) -> Path:
    """A folder like ``source`` (links) with keys of config.json changed."""
    folder.mkdir()
    for path in source.iterdir():
        if path.name != "config.json":
            (folder / path.name).symlink_to(path)
    config = json.loads((source / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "error", "expected"),
    [
        (
            {"architectures": ["MixtralForCausalLM"]},
            PlanError,
            "{folder}/config.json: unknown architecture 'MixtralForCausalLM'. trtkit knows GptOssForCausalLM: "
            "set checkpoint.path to a gpt-oss checkpoint",
        ),
        ({"head_dim": 0}, CheckpointError, "{folder}/config.json: head_dim is 0, not a positive integer"),
        (
            {"num_hidden_layers": 7},
            CheckpointError,
            "{folder}: tensor 'model.layers.6.input_layernorm.weight' is missing. Is the download complete, and",
        ),
        (
            {"num_hidden_layers": 5},
            CheckpointError,
            "unknown tensor 'model.layers.5.",
        ),
        ({"num_local_experts": 9}, CheckpointError, "not BF16 [9, 192]"),
        (
            {"max_position_embeddings": 2000},
            PlanError,
            "{folder}/config.json, max_position_embeddings: engine.max_seq_len 2048 is beyond "
            "the model's context of 2000 tokens. Set engine.max_seq_len to at most",
        ),
    ],
)
def test_configs_that_do_not_fit(
    root: Path, sample: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], expected: str
) -> None:
    folder = with_config(tmp_path / "checkpoint", sample, **changes)
    with pytest.raises(error) as caught:
        make_plan(load(root), census_of(folder))
    assert expected.format(folder=folder) in str(caught.value)


def test_equal_inputs_give_equal_digests(root: Path, sample: Path) -> None:
    plans = [make_plan(load(root, *extra), census_of(sample)) for extra in (B200, B200, ())]
    assert plans[0] == plans[1]
    assert plans[0].digest == plans[1].digest != plans[2].digest

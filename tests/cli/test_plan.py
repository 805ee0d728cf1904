from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from tests.checkpoint.hub_stand_in import HubStandIn, serve
from tests.helpers import safetensors_bytes
from toolkit import recipe
from toolkit.plan.describe import describe
from toolkit.plan.source import plan_recipe

Run = Callable[..., Result]
TINY = "tiny-gpt-oss/cpu"
OUT = "build/tiny-gpt-oss-cpu"
B200 = ("--set", "target.runtime=tensorrt-llm", "--set", "target.release=1.2.1", "--set", "target.gpu=b200")
H100 = (*B200, "--set", "target.gpu=h100")
CPU = (
    "tiny-gpt-oss-cpu: loads as it is (cpu)\n"
    "  keep         213 tensors  The target reads this tensor as it is stored.\n"
    "  output     4,765,584 bytes in 3 shard(s)\n"
)


def loaded(root: Path, *overrides: str) -> recipe.Recipe:
    return recipe.load(root / "recipes" / f"{TINY}.yaml", [word for word in overrides if word != "--set"])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sample: Path) -> Iterator[HubStandIn]:
    with serve(monkeypatch, tmp_path / "cache") as stand_in:
        stand_in.add("owner/name", sample)
        yield stand_in


def test_cpu(trtkit: Run) -> None:
    result = trtkit("plan", TINY)
    assert (result.exit_code, result.output) == (0, CPU)


def test_b200_is_printed_as_described(trtkit: Run, root: Path) -> None:
    result = trtkit("plan", TINY, *B200)
    plan = plan_recipe(loaded(root, *B200))
    assert (result.exit_code, result.output) == (0, describe(plan, "tiny-gpt-oss-cpu") + "\n")
    lines = result.output.splitlines()
    assert lines[0] == "tiny-gpt-oss-cpu: loads after a change, unverified (TensorRT-LLM 1.2.1 on b200, tp 1)"
    assert [line.split()[:2] for line in lines if " tensors  " in line] == [
        ["dequantize", "24"],
        ["drop", "72"],
        ["keep", "117"],
    ]
    assert "  rewrite    config.json, hf_quant_config.json, model.safetensors.index.json" in lines


def test_120b_without_a_download(trtkit: Run) -> None:
    result = trtkit("plan", "gpt-oss-120b/b200")
    assert result.exit_code == 0
    assert "  predicted  from the published export recipe; no header was read\n" in result.output
    assert "  output     68,831,997,120 bytes\n" in result.output


@pytest.mark.parametrize("deep", [(), ("--deep",)])
def test_refused_says_the_way_out_and_exits_with_1(trtkit: Run, deep: tuple[str, ...]) -> None:
    result = trtkit("plan", TINY, *H100, "--set", "target.weights=nvfp4", "--set", "target.parallel.pp=2", *deep)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0] == "tiny-gpt-oss-cpu: cannot be loaded (TensorRT-LLM 1.2.1 on h100, tp 1, pp 2)"
    assert [line for line in lines if line.startswith(("  refused", "  way out"))] == [
        "  refused    no MoE backend runs NVFP4 gpt-oss on h100 (SM90)",
        "  way out    Set target.weights=mxfp4",
        "  way out    Run it on one of b200, gb200, b300, gb300",
        "  refused    gpt-oss has no pipeline parallelism (target.parallel.pp)",
        "  way out    Set target.parallel to {tp: 1} or {tp: 2, attention_dp: true} "
        "or {tp: 2, ep: 2, attention_dp: true}",
    ]
    assert sum(line.startswith("  fact") for line in lines) == 2
    assert "measured" not in result.output


def test_deep_measures_a_transcode(trtkit: Run) -> None:
    plain, deep = trtkit("plan", TINY, *H100), trtkit("plan", TINY, *H100, "--deep")
    assert (plain.exit_code, deep.exit_code) == (0, 0)
    assert deep.output.startswith(plain.output)
    lines = deep.output.removeprefix(plain.output).splitlines()
    assert [line.partition(";")[0] for line in lines] == [
        "  measured   transcode of 12 weights: 0.0000% of 138,240 blocks exact, 138,240 not",
        "  measured   dequantize of 24 weights: 11.9184% of 34,560 blocks exact, 30,441 not",
    ]
    assert trtkit("plan", TINY, "--deep").output.splitlines()[-1] == (
        "  measured   no weight changes its number format: nothing is lost"
    )


def test_deep_downloads_nothing_unasked(trtkit: Run, hub: HubStandIn, sample: Path, tmp_path: Path) -> None:
    on_hub = ("plan", TINY, *H100, "--set", "checkpoint.repo=owner/name")
    plain, stopped = trtkit(*on_hub), trtkit(*on_hub, "--deep")
    fetched = [path for path in sample.iterdir() if path.suffix in (".json", ".safetensors", ".jinja")]
    nbytes = sum(path.stat().st_size for path in fetched)
    assert (stopped.exit_code, stopped.stderr) == (
        1,
        "error: --deep reads the weights, and they are not here. Add --fetch to download them first\n",
    )
    assert stopped.stdout == plain.stdout + (
        f"  weights    not here: {nbytes:,} bytes in {len(fetched)} file(s) from hub:owner/name\n"
    )
    assert not (tmp_path / "cache").exists()
    measured = trtkit(*on_hub, "--deep", "--fetch")
    assert measured.exit_code == 0
    assert "  measured   transcode of 12 weights: " in measured.stdout
    assert trtkit(*on_hub, "--deep").stdout == measured.stdout, "now it is here"


def test_fetch_alone_fetches_nothing(trtkit: Run, hub: HubStandIn, tmp_path: Path) -> None:
    assert trtkit("plan", TINY, *B200, "--set", "checkpoint.repo=owner/name", "--fetch").exit_code == 0
    assert not (tmp_path / "cache").exists()


def test_json_is_the_whole_plan(trtkit: Run, root: Path) -> None:
    result = trtkit("plan", TINY, *B200, "--json")
    plan = plan_recipe(loaded(root, *B200))
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document == json.loads(json.dumps({**plan.to_dict(), "digest": plan.digest}))
    assert document["reasons"].keys() == {"same", "bf16-attention", "unused-scale"}
    assert document["launch"]["commands"].keys() == {"serve", "dataset", "bench"}
    assert len(document["digest"]) == 64


def test_deep_json_has_the_figures_of_each_weight(trtkit: Run) -> None:
    document = json.loads(trtkit("plan", TINY, *H100, "--deep", "--json").stdout)
    measured = document["measured"]
    assert measured["totals"].keys() == {"transcode", "dequantize"}
    assert measured["totals"]["transcode"]["blocks"] == 138_240
    kinds = [entry["kind"] for entry in measured["tensors"]]
    assert (kinds.count("transcode"), kinds.count("dequantize"), len(kinds)) == (12, 24, 36)
    assert "measured" not in json.loads(trtkit("plan", TINY, *H100, "--json").stdout)


def test_a_refused_plan_as_json(trtkit: Run) -> None:
    result = trtkit("plan", TINY, *H100, "--set", "target.weights=nvfp4", "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["verdict"]) == (1, "refused")
    [refusal] = document["refusals"]
    assert refusal["ways_out"] == ["Set target.weights=mxfp4", "Run it on one of b200, gb200, b300, gb300"]
    assert refusal["evidence"].keys() == {"id", "statement", "source", "status", "checked"}


def test_a_dry_run_of_what_is_refused_says_so_and_exits_with_1(trtkit: Run, tmp_path: Path) -> None:
    overrides = ("--set", f"engine.output={tmp_path / 'out'}", *H100, "--set", "target.weights=nvfp4")
    planned = trtkit("plan", TINY, *overrides)
    result = trtkit("engine", TINY, "--dry-run", *overrides)
    assert (result.exit_code, result.output) == (1, planned.output)
    assert "would go to" not in result.output
    result = trtkit("engine", TINY, "--dry-run", "--json", *overrides)
    assert (result.exit_code, json.loads(result.output)["plan"]["verdict"]) == (1, "refused")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_tokenizer_is_noted(trtkit: Run, sample: Path, tmp_path: Path) -> None:
    for path in sample.iterdir():
        if path.name != "tokenizer.json":
            (tmp_path / path.name).symlink_to(path)
    bare = ("plan", TINY, "--set", f"checkpoint.path={tmp_path}")
    note = (
        "  note       no tokenizer.json: serving needs one; set checkpoint.tokenizer to its folder "
        "(gpt-oss: hf download openai/gpt-oss-120b --include 'tokenizer*' --local-dir DIR)\n"
    )
    assert trtkit(*bare).output == CPU + note
    with_one = trtkit(*bare, "--set", f"checkpoint.tokenizer={sample}")
    assert (with_one.exit_code, with_one.output) == (0, CPU)
    assert note in trtkit("plan", "gpt-oss-120b/b200").output, "the published repository has none"
    assert "no tokenizer.json" not in trtkit("plan", "gpt-oss-20b/b200-latency").output


def test_a_predicted_plan_shows_no_half_file(trtkit: Run) -> None:
    document = json.loads(trtkit("plan", "gpt-oss-120b/b200", "--json").output)
    names = ("config.json", "hf_quant_config.json", "model.safetensors.index.json")
    assert document["json_files"] == dict.fromkeys(names)
    assert document["predicted"] is True


def test_a_plan_from_the_hub(trtkit: Run, hub: HubStandIn, root: Path) -> None:
    result = trtkit("plan", TINY, *B200, "--set", "checkpoint.repo=owner/name")
    local = trtkit("plan", TINY, *B200).output
    assert result.exit_code == 0
    own, script = (f"python3 benchmarks/cpp/prepare_dataset.py --tokenizer {OUT}/checkpoint", " --stdout ")
    assert own in local
    hub_line = local.replace(own, "trtllm-bench --model owner/name prepare-dataset --output dataset-32-32.jsonl")
    expected = hub_line.replace(script, " ").replace(" > dataset-32-32.jsonl", "")
    assert result.output == expected.replace("--model tiny-gpt-oss-cpu ", "--model owner/name ")
    assert sum(hub.sent.values()) < 250_000, "headers and JSON of 4.8 MB"


def test_an_unknown_repository_that_is_not_here(trtkit: Run) -> None:
    result = trtkit("plan", "gpt-oss-120b/b200", "--set", "checkpoint.repo=nobody/nothing")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "error: hub:nobody/nothing: the Hub may not be asked: HF_HUB_OFFLINE is set. Type: unset HF_HUB_OFFLINE\n"
    )


def test_a_checkpoint_that_is_not_on_the_hub(trtkit: Run, hub: HubStandIn) -> None:
    result = trtkit("plan", TINY, *B200, "--set", "checkpoint.repo=owner/other")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("error: hub:owner/other: ")


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("target.gpu=b2000", "target.gpu: unknown GPU 'b2000'. Did you mean 'b200'?"),
        (
            "engine.llm_args.max_batch_sise=1",
            "engine.llm_args.max_batch_sise: TensorRT-LLM 1.2.1 has no LLM argument max_batch_sise. "
            "Did you mean max_batch_size?",
        ),
        (
            "target.parallel={tp: 4, ep: 3}",
            "--set target.parallel={tp: 4, ep: 3}: target.parallel: ep 3 does not divide tp 4. "
            "Choose ep among the divisors of tp",
        ),
    ],
)
def test_a_mistake_is_one_line(trtkit: Run, override: str, error: str) -> None:
    result = trtkit("plan", TINY, *B200, "--set", override)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"error: {error}\n")


def test_a_damaged_header_is_one_line(trtkit: Run, sample: Path, tmp_path: Path) -> None:
    for path in sample.iterdir():
        (tmp_path / path.name).symlink_to(path)
    shard = tmp_path / "model-00001-of-00003.safetensors"
    shard.unlink()
    shard.write_bytes(safetensors_bytes(b"{"))
    result = trtkit("plan", TINY, "--set", f"checkpoint.path={tmp_path}")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert str(shard) in result.stderr

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]
B200 = ("--set", "target.runtime=tensorrt-llm", "--set", "target.release=1.2.1", "--set", "target.gpu=b200")


def test_cpu(trtkit: Run) -> None:
    result = trtkit("plan", "tiny-gpt-oss/cpu")
    assert (result.exit_code, result.output) == (
        0,
        "tiny-gpt-oss-cpu: loads as it is (cpu)\n"
        "  keep         213 tensors  The target reads this tensor as it is stored.\n"
        "  output     4,765,584 bytes in 3 shard(s)\n",
    )


def test_b200(trtkit: Run) -> None:
    result = trtkit("plan", "tiny-gpt-oss/cpu", *B200)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "tiny-gpt-oss-cpu: loads after a change (TensorRT-LLM 1.2.1 on b200)"
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["dequantize", "24", "tensors"],
        ["drop", "72", "tensors"],
        ["keep", "117", "tensors"],
    ]
    assert lines[4] == "  rewrite    config.json, hf_quant_config.json, model.safetensors.index.json"


def test_120b_without_a_download(trtkit: Run) -> None:
    result = trtkit("plan", "gpt-oss-120b/b200")
    assert result.exit_code == 0
    assert "Predicted from the published export recipe; no header was read." in result.output
    assert "  output     68,831,997,120 bytes\n" in result.output


def test_refused_says_the_way_out_and_exits_with_1(trtkit: Run) -> None:
    result = trtkit("plan", "gpt-oss-120b/b200", "--set", "target.gpu=rtx-5090")
    assert (result.exit_code, result.output) == (
        1,
        "gpt-oss-120b-b200: cannot be loaded (TensorRT-LLM 1.2.1 on rtx-5090)\n"
        "  Predicted from the published export recipe; no header was read.\n"
        "  refused    no MoE backend of TensorRT-LLM runs NVFP4 gpt-oss on rtx-5090 (SM120)\n"
        "  way out    Serve openai/gpt-oss (MXFP4) there, or this checkpoint on a b200, gb200, b300 or gb300\n",
    )


def test_a_dry_run_of_what_is_refused_says_so_and_exits_with_1(trtkit: Run, tmp_path: Path) -> None:
    overrides = ("--set", f"engine.output={tmp_path / 'out'}", *B200, "--set", "target.gpu=h100")
    planned = trtkit("plan", "tiny-gpt-oss/cpu", *overrides)
    result = trtkit("engine", "tiny-gpt-oss/cpu", "--dry-run", *overrides)
    assert (result.exit_code, result.output) == (1, planned.output)
    assert "would go to" not in result.output
    result = trtkit("engine", "tiny-gpt-oss/cpu", "--dry-run", "--json", *overrides)
    assert (result.exit_code, json.loads(result.output)["plan"]["verdict"]) == (1, "refused")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_tokenizer_is_noted(trtkit: Run, sample: Path, tmp_path: Path) -> None:
    for path in sample.iterdir():
        if path.name != "tokenizer.json":
            (tmp_path / path.name).symlink_to(path)
    bare = ("plan", "tiny-gpt-oss/cpu", "--set", f"checkpoint.path={tmp_path}")
    note = "  note       no tokenizer.json: serving needs one; set checkpoint.tokenizer to its folder\n"
    assert trtkit(*bare).output.endswith(note)
    with_one = trtkit(*bare, "--set", f"checkpoint.tokenizer={sample}")
    assert with_one.exit_code == 0
    assert "note" not in with_one.output
    assert "note" not in trtkit("plan", "gpt-oss-120b/b200").output, "what a predicted one has is not known"


def test_a_predicted_plan_shows_no_half_file(trtkit: Run) -> None:
    document = json.loads(trtkit("plan", "gpt-oss-120b/b200", "--json").output)
    names = ("config.json", "hf_quant_config.json", "model.safetensors.index.json")
    assert document["json_files"] == dict.fromkeys(names)


def test_json(trtkit: Run) -> None:
    document = json.loads(trtkit("plan", "tiny-gpt-oss/cpu", *B200, "--json").output)
    assert document["verdict"] == "after-change"
    assert len(document["shards"]) == 3
    assert document["reasons"].keys() == {"same", "bf16-attention", "unused-scale"}
    assert len(document["digest"]) == 64


def test_an_unknown_repository_that_is_not_here(trtkit: Run) -> None:
    result = trtkit("plan", "gpt-oss-120b/b200", "--set", "checkpoint.repo=nobody/nothing")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: hub:nobody/nothing: the checkpoint is not whole in the local cache and trtkit does not know its headers"
        ". Type: hf download nobody/nothing --local-dir DIR, then add --set checkpoint.path=DIR\n"
    )

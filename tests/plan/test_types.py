from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from toolkit.plan.types import Action, Copy, Evidence, Launch, Memory, Note, Plan, Refusal, ShardPlan, Slice, Split
from toolkit.trtllm.commands import Command

KEEP = Action("keep", ("a",), "a", "BF16", (4, 8), "same")
DEQUANTIZE = Action("dequantize", ("b", "b_scale", "b_scale_2"), "b", "BF16", (2, 32), "bf16-attention")
DROP = Action("drop", ("b_scale",), reason="unused-scale")
FILL = Action("fill", (), "c", "F32", (), "input-scale", value=1.0)
PLAN = Plan(
    architecture="GptOssForCausalLM",
    target={"runtime": "tensorrt-llm", "gpu": "b200"},
    verdict="after-change",
    why="because",
    shards=(ShardPlan("1.safetensors", (KEEP,)), ShardPlan("2.safetensors", (DEQUANTIZE, DROP, FILL))),
    json_files={"config.json": {"a": 1}},
    copies=(Copy("checkpoint", "tokenizer.json"),),
    llm_args={"backend": "pytorch"},
)
# every field of a plan with another value, by whether the bundle's bytes depend on it
BUILT: dict[str, Any] = {
    "architecture": "LlamaForCausalLM",
    "target": {"runtime": "tensorrt-llm", "gpu": "b300"},
    "shards": (PLAN.shards[0], ShardPlan("2.safetensors", (DEQUANTIZE, DROP, replace(FILL, value=2.0)))),
    "json_files": {"config.json": {"a": 2}},
    "copies": (Copy("tokenizer", "tokenizer.json"),),
    "llm_args": {"backend": "pytorch", "max_batch_size": 8},
    "predicted": True,
    "schema_version": PLAN.schema_version + 1,
}
SAID: dict[str, Any] = {
    "verdict": "loads",
    "why": "otherwise",
    "formats": {"attention": "bf16", "ffn": "nvfp4"},
    "kernel": "TRTLLM (NVFP4)",
    "lossy": True,
    "contested": True,
    "certainty": "unverified",
    "ways_out": ("Set target.release=1.2.1",),
    "evidence": (Evidence("so it is", "#1"),),
    "reasons": {"same": "as it is"},
    "refusals": (Refusal("no", ("yes",), Evidence("so", "#2")),),
    "notes": (Note("look"),),
    "memory": Memory(2, 1, 0, 1, 1, 0, "fp8", ()),
    "layouts": (Split(2, 1, False),),
    "launch": Launch({"serve": Command(("trtllm-serve",))}, {}),
    "confirm": "python3 -c pass",
}


def test_bytes_and_counts() -> None:
    assert [action.nbytes for action in (KEEP, DEQUANTIZE, DROP, FILL)] == [64, 128, 0, 4]
    assert [shard.nbytes for shard in PLAN.shards] == [64, 132]
    assert [shard.unchanged for shard in PLAN.shards] == [True, False]
    assert PLAN.output_bytes == 196
    assert list(PLAN.actions) == [KEEP, DEQUANTIZE, DROP, FILL]
    assert PLAN.counts() == {"keep": 1, "dequantize": 1, "drop": 1, "fill": 1}


def test_every_field_is_known_to_matter_to_the_bundle_or_not() -> None:
    assert BUILT.keys() | SAID.keys() == {field.name for field in fields(Plan)}
    assert not BUILT.keys() & SAID.keys()


@pytest.mark.parametrize("name", BUILT)
def test_the_digest_changes_with_what_is_built(name: str) -> None:
    assert replace(PLAN, **{name: BUILT[name]}).digest != PLAN.digest


@pytest.mark.parametrize("name", SAID)
def test_the_digest_does_not_change_with_what_is_only_said(name: str) -> None:
    assert getattr(PLAN, name) != SAID[name]
    assert replace(PLAN, **{name: SAID[name]}).digest == PLAN.digest


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "relay"},
        {"inputs": ("z",)},
        {"output": "z"},
        {"dtype": "F16"},
        {"shape": (8, 4)},
        {"slices": (Slice(0, 0, 4),)},
        {"borrowed": ("z",)},
        {"origin": "bf16"},
        {"value": 1.0},
    ],
)
def test_the_digest_changes_with_every_part_of_an_action(change: dict[str, Any]) -> None:
    shard = replace(PLAN.shards[0], actions=(replace(KEEP, **change),))
    assert replace(PLAN, shards=(shard, PLAN.shards[1])).digest != PLAN.digest


def test_a_plan_is_one_json_document() -> None:
    document = json.loads(json.dumps(replace(PLAN, **SAID).to_dict()))
    assert document["schema_version"] == 2
    assert document["shards"][0] == {
        "file": "1.safetensors",
        "actions": [
            {
                "kind": "keep",
                "inputs": ["a"],
                "output": "a",
                "dtype": "BF16",
                "shape": [4, 8],
                "reason": "same",
                "slices": [],
                "borrowed": [],
                "origin": None,
                "value": None,
            }
        ],
    }
    assert document["launch"]["commands"] == {"serve": {"argv": ["trtllm-serve"], "stdout": None}}
    assert document["layouts"] == [[2, 1, False]]

from __future__ import annotations

import pytest

from tests.models import layouts
from tests.plan.cases import LLAMA_8B, QWEN3_30B, census, plan_published, tiny, whats
from toolkit.models.known import predicted_census
from toolkit.models.layout import Layout
from toolkit.models.registry import FAMILIES
from toolkit.plan import make_plan
from toolkit.plan.parallel import Rules, refuse_layout, split, spoken, typed
from toolkit.plan.types import Split
from toolkit.recipe import ParallelSection

NVFP4, MXFP4, PACKED = Layout("bf16", "nvfp4"), Layout("bf16", "mxfp4"), Layout("nvfp4", "nvfp4")


def rules(repo: str, layout: Layout, *, pipeline: bool = False) -> Rules:
    census = predicted_census(repo)
    assert census is not None
    return Rules(FAMILIES[census.architecture].geometry(census.config, repo), layout, pipeline)


def layout(text: str) -> ParallelSection:
    """``tp.pp.ep`` and a trailing ``d`` for attention DP."""
    tp, pp, ep = map(int, text.removesuffix("d").split("."))
    return ParallelSection(tp=tp, pp=pp, ep=ep, attention_dp=text.endswith("d"))


def splits(found: Rules, gpus: int = 8) -> set[tuple[int, int, bool]]:
    return {(p.tp, p.ep, p.attention_dp) for p in found.legal(gpus)}


def by_hand(channels: int, heads: int, kv_heads: int, group: int, experts: int) -> set[tuple[int, int, bool]]:
    """Every layout on 1, 2, 4 or 8 GPUs whose shares are whole, from the model card's sizes."""
    sizes = (1, 2, 4, 8)
    return {
        (tp, ep, dp)
        for tp in sizes
        for ep in (sizes if experts else (1,))
        for dp in (False, True)
        if tp % ep == 0
        and not (dp and tp == 1)
        and (dp or (heads % tp == 0 and (kv_heads % tp == 0 or tp % kv_heads == 0)))
        and (not experts or experts % ep == 0)
        and channels % ((tp // ep if experts else tp) * group) == 0
    }


def test_every_legal_layout_of_the_published_models() -> None:
    oss = "openai/gpt-oss-120b"
    nvfp4 = splits(rules(oss, NVFP4))
    assert nvfp4 == by_hand(2880, 64, 8, 16, 128)
    assert (8, 1, False) not in nvfp4, "2880 / 8 = 360 is not a multiple of 16"
    assert splits(rules(oss, MXFP4)) == by_hand(2880, 64, 8, 1, 128) == nvfp4 | {(8, 1, False), (8, 1, True)}
    assert splits(rules(LLAMA_8B, PACKED)) == by_hand(14336, 32, 8, 16, 0)
    assert splits(rules(QWEN3_30B, PACKED)) == by_hand(768, 32, 4, 16, 128)
    assert (8, 1, False) in splits(rules(QWEN3_30B, PACKED)), "8 ranks hold each of 4 KV heads twice"


def test_layouts_come_smallest_first() -> None:
    found = [(p.tp, p.ep, p.attention_dp) for p in rules("openai/gpt-oss-20b", NVFP4).legal(2)]
    assert found == [(1, 1, False), (2, 1, False), (2, 1, True), (2, 2, False), (2, 2, True)]
    assert {p.tp for p in rules("openai/gpt-oss-20b", MXFP4).legal(6)} == {1, 2, 4}
    assert {p.pp for p in rules(LLAMA_8B, PACKED, pipeline=True).legal()} == {1}


@pytest.mark.parametrize(
    ("parallel", "problems"),
    [
        ("1.1.1", []),
        ("8.1.2", []),
        ("16.1.16", []),
        ("64.1.64", []),
        ("1.2.1", ["gpt-oss has no pipeline parallelism (target.parallel.pp)"]),
        (
            "8.1.1",
            [
                "MoE tensor parallel 8 gives 360 channels a rank, which splits NVFP4 groups of 16 (target.parallel.ep)",
            ],
        ),
        (
            "48.1.48",
            [
                "tensor parallel 48 does not split 64 attention and 8 KV heads evenly (target.parallel.tp)",
                "expert parallel 48 does not split 128 experts evenly (target.parallel.ep)",
            ],
        ),
        ("3.1.3d", ["expert parallel 3 does not split 128 experts evenly (target.parallel.ep)"]),
        (
            "7.1.1d",
            [
                "MoE tensor parallel 7 gives 411.429 channels a rank, which splits NVFP4 groups of 16 "
                "(target.parallel.ep)"
            ],
        ),
        (
            "8.2.1",
            [
                "gpt-oss has no pipeline parallelism (target.parallel.pp)",
                "MoE tensor parallel 8 gives 360 channels a rank, which splits NVFP4 groups of 16 (target.parallel.ep)",
            ],
        ),
    ],
)
def test_what_is_wrong_with_a_layout_of_gpt_oss_120b(parallel: str, problems: list[str]) -> None:
    found = rules("openai/gpt-oss-120b", NVFP4)
    refusals = list(refuse_layout(layout(parallel), found))
    assert [refusal.what for refusal in refusals] == problems
    assert found.is_legal(layout(parallel)) == (not problems)
    assert all(refusal.evidence.source and len(refusal.ways_out) == 1 for refusal in refusals)


def test_mxfp4_needs_even_channels_only() -> None:
    """NVIDIA's own latency configuration of gpt-oss-120b is tp 8, ep 1: 360 channels a rank."""
    found = rules("openai/gpt-oss-120b", MXFP4)
    assert found.is_legal(layout("8.1.1"))
    [refusal] = refuse_layout(layout("7.1.1d"), found)
    assert refusal.what == "MoE tensor parallel 7 does not split 2880 channels evenly (target.parallel.ep)"


@pytest.mark.parametrize(
    ("parallel", "problems"),
    [
        ("8.1.1", []),
        ("1.4.1", []),
        ("2.1.2", ["expert parallel 2 on a model without experts (target.parallel.ep)"]),
        ("1.33.1", ["pipeline parallel 33 is more than the model's 32 layers (target.parallel.pp)"]),
        (
            "5.1.1d",
            ["tensor parallel 5 gives 2867.2 channels a rank, which splits NVFP4 groups of 16 (target.parallel.tp)"],
        ),
        ("64.1.1", ["tensor parallel 64 does not split 32 attention and 8 KV heads evenly (target.parallel.tp)"]),
    ],
)
def test_what_is_wrong_with_a_layout_of_llama(parallel: str, problems: list[str]) -> None:
    refusals = list(refuse_layout(layout(parallel), rules(LLAMA_8B, PACKED, pipeline=True)))
    assert [refusal.what for refusal in refusals] == problems
    assert not any("gpt-oss" in refusal.evidence.statement for refusal in refusals)


def test_o_proj_is_split_at_groups_as_well() -> None:
    """6 heads of 16 elements: 2 ranks have 3 groups of 16 each, 4 have half a head; the FFN has 112 = 7 × 16."""
    _, geometry, _ = layouts.case("llama-nvfp4")
    packed = Rules(geometry, PACKED, pipeline=True)
    assert [refusal.what for refusal in refuse_layout(layout("4.1.1"), packed)] == [
        "tensor parallel 4 does not split 6 attention and 2 KV heads evenly (target.parallel.tp)",
        "tensor parallel 4 gives 28 channels a rank, which splits NVFP4 groups of 16 (target.parallel.tp)",
        "tensor parallel 4 gives o_proj 24 channels a rank, which splits NVFP4 groups of 16 (target.parallel.tp)",
    ]
    assert [refusal.what for refusal in refuse_layout(layout("4.1.1"), Rules(geometry, MXFP4, pipeline=True))] == [
        "tensor parallel 4 does not split 6 attention and 2 KV heads evenly (target.parallel.tp)"
    ]


def test_the_ways_out_are_the_nearest_legal_layouts() -> None:
    found = rules("openai/gpt-oss-120b", NVFP4)
    [refusal] = refuse_layout(layout("8.1.1"), found)
    assert refusal.ways_out == ("Set target.parallel to {tp: 8, ep: 2} or {tp: 8, ep: 4} or {tp: 8, ep: 8}",)
    [refusal] = refuse_layout(layout("1.2.1"), found)
    assert refusal.ways_out == ("Set target.parallel to {tp: 1} or {tp: 2} or {tp: 2, ep: 2}",)
    [refusal] = refuse_layout(layout("16.1.1d"), found)
    assert refusal.ways_out == ("Set target.parallel to {tp: 16, ep: 4} or {tp: 16, ep: 8} or {tp: 16, ep: 16}",)


def test_layouts_in_words_and_as_values() -> None:
    plain, parallel = ParallelSection(tp=4), ParallelSection(tp=4, ep=2, attention_dp=True)
    staged = ParallelSection(tp=1, pp=2)
    assert (spoken(plain), spoken(parallel), spoken(Split(2, 2, False)), spoken(staged)) == (
        "tp 4",
        "tp 4 ep 2 attention DP",
        "tp 2 ep 2",
        "tp 1 pp 2",
    )
    assert typed([staged]) == "target.parallel to {tp: 1, pp: 2}"
    assert typed([plain, parallel]) == "target.parallel to {tp: 4} or {tp: 4, ep: 2, attention_dp: true}"
    assert split(parallel) == Split(4, 2, True)


def test_kv_heads_are_split_or_copied() -> None:
    """6 heads and 2 KV heads: 3 ranks divide the first and not the second; 6 hold each KV head three times."""
    source = census("gpt-oss-nvfp4", exclude=["lm_head"])

    def refused(tp: int, *more: str) -> list[str]:
        plan = make_plan(tiny(f"target.parallel.tp={tp}", f"target.parallel.ep={tp if tp == 3 else 1}", *more), source)
        return [what for what in whats(plan) if "KV heads" in what]

    assert refused(3) == ["tensor parallel 3 does not split 6 attention and 2 KV heads evenly (target.parallel.tp)"]
    assert refused(3, "target.parallel.attention_dp=true") == []
    assert (refused(1), refused(2), refused(6)) == ([], [], [])


def test_a_plan_lists_the_legal_layouts() -> None:
    """Two GPUs of 180 GB hold gpt-oss-120b in any layout."""
    plan = plan_published("openai/gpt-oss-120b")
    assert set(plan.layouts) == by_hand(2880, 64, 8, 1, 128)
    refused = plan_published("openai/gpt-oss-120b", "target.parallel.pp=2")
    assert set(refused.layouts) == set(plan.layouts)


@pytest.mark.parametrize(
    ("parallel", "channels"), [("1.1", None), ("2.1", None), ("8.1", 96), ("8.2", None), ("4.4", None)]
)
def test_cutlass_has_64_channels_of_packed_experts_a_rank(parallel: str, channels: int | None) -> None:
    """Qwen3-30B-A3B: 768 / 8 = 96, which is legal, and not what NVIDIA sweeps."""
    tp, ep = parallel.split(".")
    plan = plan_published(QWEN3_30B, f"target.parallel={{tp: {tp}, ep: {ep}}}", layers=1)
    notes = [note for note in plan.notes if "multiple of 64" in note.what]
    assert len(notes) == (channels is not None)
    for note in notes:
        assert f"MoE tensor parallel 8 gives {channels} channels a rank" in note.what
        assert "inferred" in note.source
    assert not plan.refusals


def test_every_rule_is_a_fact_with_its_day() -> None:
    refusals = list(refuse_layout(ParallelSection(tp=64, pp=64, ep=1), rules(LLAMA_8B, PACKED)))
    assert len(refusals) >= 3
    assert all(refusal.evidence.checked and refusal.evidence.status for refusal in refusals)

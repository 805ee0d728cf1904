from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from toolkit.bench.workload import (
    Drawn,
    Normal,
    RequestSpec,
    Synthetic,
    Trace,
    Uniform,
    draw,
    draw_lengths,
    fixed,
    from_ids,
    from_text,
    longest_of,
)
from toolkit.errors import RecipeError

IDS = from_ids(range(100, 200))
SPREAD = Synthetic(Uniform(4, 9), Normal(20, 5, 40), IDS)
PINNED = "e11ef45607c4f838de0facb1ac63f4e4ed57cddf7b3972dfe45476dac03de80b"
"""Of 30 requests of ``SPREAD`` with seed 5."""
LINES = tuple(RequestSpec(number, (number, 1, 2), 5 + number, number / 2) for number in range(4))
TRACE = Trace(LINES, IDS, "trace.jsonl")


def test_lengths_are_exactly_those_that_were_drawn() -> None:
    drawn = draw(SPREAD, 50, 0, seed=3, repeat=2)
    lengths = [(len(spec.prompt_ids), spec.output_tokens) for spec in drawn.measured]
    assert lengths == list(islice(draw_lengths(SPREAD.isl, SPREAD.osl, "3:2"), 50))
    assert [spec.id for spec in drawn.measured] == list(range(50))
    assert {spec.arrival_s for spec in drawn.measured} == {None}


def test_all_prompts_differ() -> None:
    """90 of 100 one-token prompts: drawn independently, some would come twice."""
    drawn = draw(Synthetic(fixed(1), fixed(1), IDS), 60, 30, seed=0)
    assert len({spec.prompt_ids for spec in drawn.measured + drawn.warmup}) == 90
    assert [spec.id for spec in drawn.warmup] == list(range(30))


def test_a_larger_draw_starts_with_the_smaller_one_and_warmup_changes_nothing() -> None:
    few, many = draw(SPREAD, 5, 2, seed=1), draw(SPREAD, 40, 20, seed=1)
    assert many.measured[:5] == few.measured
    assert few.sha256 == draw(SPREAD, 5, 9, seed=1).sha256 != many.sha256


def test_seed_and_repeat_decide() -> None:
    one = draw(SPREAD, 5, 5, seed=1)
    assert one == draw(SPREAD, 5, 5, seed=1, repeat=1)
    others = [draw(SPREAD, 5, 5, seed=2), draw(SPREAD, 5, 5, seed=1, repeat=2)]
    assert len({drawn.sha256 for drawn in (one, *others)}) == 3
    assert len({drawn.warmup for drawn in (one, *others)}) == 3


def test_the_same_on_every_machine() -> None:
    """Another hash seed, another process; and a digest that is written down."""
    code = (
        "from toolkit.bench.workload import *;"
        "print(draw(Synthetic(Uniform(4, 9), Normal(20, 5, 40), from_ids(range(100, 200))), 30, 0, seed=5).sha256)"
    )
    root = Path(__file__).parents[3]
    command, environment = [sys.executable, "-c", code], {"PYTHONHASHSEED": "99", "PYTHONPATH": str(root)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == draw(SPREAD, 30, 0, seed=5).sha256 == PINNED


def test_everything_measured_is_in_the_digest() -> None:
    spec = RequestSpec(0, (1, 2), 3, 0.5)
    changed = [
        replace(spec, prompt_ids=(1, 3)),
        replace(spec, prompt_ids=(1, 2, 2)),
        replace(spec, output_tokens=4),
        replace(spec, arrival_s=None),
        replace(spec, arrival_s=0.25),
    ]
    assert len({Drawn((one,), ()).sha256 for one in (spec, *changed)}) == 6
    assert Drawn((spec,), ()).sha256 == Drawn((spec,), (spec,)).sha256


def test_a_source_without_enough_prompts(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("".join(map(chr, range(33, 93))))
    workload = Synthetic(fixed(58), fixed(1), from_text(path, lambda text: list(map(ord, text))))
    assert len(draw(workload, 2, 1, seed=0).measured) == 2
    with pytest.raises(RecipeError) as caught:
        draw(workload, 2, 2, seed=0)
    assert str(caught.value) == (
        f"{path}: after 3 different prompts of 58 tokens no other was found in it. "
        "Give a longer text, or a smaller bench.requests"
    )


def test_a_trace_is_sent_as_it_is() -> None:
    drawn = draw(TRACE, 3, 5, seed=1)
    assert drawn.measured == LINES[:3]
    lengths = [(len(spec.prompt_ids), spec.output_tokens) for spec in drawn.warmup]
    assert lengths == [(3, 5), (3, 6), (3, 7), (3, 5), (3, 6)]
    assert not {spec.prompt_ids for spec in drawn.warmup} & {spec.prompt_ids for spec in LINES}


def test_a_trace_may_repeat_a_prompt() -> None:
    twice = replace(TRACE, requests=(LINES[0], replace(LINES[0], id=1)))
    assert draw(twice, 2, 1, seed=0).measured == twice.requests


def test_a_trace_that_is_too_short() -> None:
    with pytest.raises(RecipeError) as caught:
        draw(TRACE, 5, 0, seed=0)
    assert str(caught.value) == (
        "trace.jsonl: it has 4 requests, 5 are asked for. Give a longer trace, or a smaller bench.requests"
    )


def test_the_longest_request() -> None:
    assert longest_of(LINES) == 3 + 8
    assert longest_of(()) == 0

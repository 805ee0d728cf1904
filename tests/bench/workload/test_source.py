from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.bench.workload import Normal, RequestSpec, Synthetic, Trace, open_source
from toolkit.errors import CheckpointError, RecipeError
from toolkit.recipe import Recipe
from toolkit.recipe.workload import WorkloadSection


def tokenizer_of(recipe: Recipe) -> Path:
    return recipe.engine.output / "checkpoint"


def test_the_workload_of_a_point(recipe: Recipe) -> None:
    section = WorkloadSection(kind="normal", stdev=0.1)
    source = open_source(section, tokenizer_of(recipe), text=recipe.bench.prompts, max_seq_len=64)
    assert source.content.where == str(recipe.bench.prompts)
    workload = source.at(20, 10)
    assert workload == Synthetic(Normal(20, 2.0, 26, 14), Normal(10, 1.0, 13, 7), source.content)


def test_a_trace_is_read_with_the_bundles_tokenizer(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"prompt": "w3 w1", "output_tokens": 4}\n')
    section = WorkloadSection(kind="trace", trace=path)
    source = open_source(section, tokenizer_of(recipe), text=None, max_seq_len=6)
    expected = Trace((RequestSpec(0, (3, 1), 4),), source.content, str(path))
    assert source.at(1, 2) == source.at(3, 4) == expected
    with pytest.raises(RecipeError, match=r"trace\.jsonl:1: the request needs 6 tokens"):
        open_source(section, tokenizer_of(recipe), text=None, max_seq_len=5)


def test_a_bundle_without_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        open_source(WorkloadSection(), tmp_path, text=None, max_seq_len=64)

from __future__ import annotations

import pytest
from pydantic import ValidationError

from toolkit.errors import PlanError
from toolkit.trtllm import Fact, Gpu, Image, Kernel, Release, Targets, load_targets


def test_the_date_is_that_of_the_oldest_fact() -> None:
    targets = load_targets()
    assert targets.checked == "2026-11-24"
    old = targets.notes[0].model_copy(update={"checked": "2025-02-03"})
    assert targets.model_copy(update={"notes": (old, *targets.notes[1:])}).checked == "2025-02-03"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("b200", Gpu),
        ("1.2.1", Release),
        ("26.07", Image),
        ("release:1.4.0rc1", Image),
        ("gpt-oss-nvfp4-trtllm", Kernel),
        ("model-map", Fact),
        ("gpt-oss-nvfp4-exclude-override", Fact),
    ],
)
def test_anything_is_found_by_its_name(name: str, kind: type) -> None:
    assert isinstance(load_targets().find(name), kind)


def test_every_fact_is_found_by_its_id() -> None:
    targets = load_targets()
    for fact in targets.facts():
        found = targets.find(fact.id)
        assert fact in (found, getattr(found, "fact", None))
        assert targets.fact(fact.id) == fact


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("B200", "Did you mean 'b200' or 'gb200' or 'h200'?"),
        ("rtx5090", "Did you mean 'rtx-5090'?"),
        ("modelmap", "Did you mean 'model-map'?"),
        (
            "tpu",
            "Known: b200, gb200, b300, gb300, h100, h200, rtx-5090, rtx-pro-6000, dgx-spark; "
            "1.0.0, 1.1.0, 1.2.0, 1.2.1, 1.3.0rc0 to rc29, 1.4.0rc0, 1.4.0rc1",
        ),
    ],
)
def test_a_name_that_nobody_has(name: str, hint: str) -> None:
    with pytest.raises(PlanError) as caught:
        load_targets().find(name)
    assert str(caught.value) == f"no GPU, release, image or fact has the name {name!r}. {hint}"


def test_a_misspelt_part_is_refused() -> None:
    with pytest.raises(ValidationError):
        Targets.model_validate({**load_targets().model_dump(), "gpuss": {}})

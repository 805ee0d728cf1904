from __future__ import annotations

import pytest

from toolkit.errors import PlanError
from toolkit.trtllm.span import Span, order


def test_candidates_come_before_their_release() -> None:
    names = ["1.0.0", "1.2.0rc2.post2", "1.2.0", "1.2.1", "1.3.0rc7", "1.3.0rc20", "1.3.0", "1.10.0"]
    assert sorted(set(names), key=order) == names


@pytest.mark.parametrize("name", ["1.2", "", "1.2.1rc", "latest", "1.2.1\n", "١.٢.٣", "v1.2.1"])
def test_what_is_no_release_is_refused(name: str) -> None:
    with pytest.raises(PlanError) as caught:
        order(name)
    assert str(caught.value) == (
        f"target.release: {name!r} is not the name of a TensorRT-LLM release. Write it as 1.2.1 or 1.3.0rc20"
    )


@pytest.mark.parametrize(
    ("span", "covered"),
    [
        (Span(), ["1.1.0", "1.2.0", "1.3.0rc20", "1.3.0rc21"]),
        (Span(added="1.2.0"), ["1.2.0", "1.3.0rc20", "1.3.0rc21"]),
        (Span(removed="1.3.0rc21"), ["1.1.0", "1.2.0", "1.3.0rc20"]),
        (Span(added="1.2.0", removed="1.3.0rc21"), ["1.2.0", "1.3.0rc20"]),
    ],
)
def test_a_span_covers_from_added_to_before_removed(span: Span, covered: list[str]) -> None:
    assert [name for name in ("1.1.0", "1.2.0", "1.3.0rc20", "1.3.0rc21") if span.covers(name)] == covered


def test_a_span_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"added 1\.3\.0 is not before removed 1\.2\.0"):
        Span(added="1.3.0", removed="1.2.0")

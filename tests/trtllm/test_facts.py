from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from toolkit.trtllm import Fact, load_targets
from toolkit.trtllm.facts import oldest

ROOT = Path(__file__).parents[2]
FACT: dict[str, Any] = {
    "id": "b200-memory",
    "statement": "178 GiB",
    "source": "#1",
    "checked": "2026-11-24",
    "status": "verified",
}


def test_every_fact_has_an_id_of_its_own() -> None:
    ids = [fact.id for fact in load_targets().facts()]
    assert len(ids) == len(set(ids)) > 100


@pytest.mark.parametrize(
    "change",
    [
        {"source": ""},
        {"source": "  "},
        {"statement": ""},
        {"checked": "24.11.2026"},
        {"status": "sure"},
        {"id": "B200 memory"},
        {"note": "?"},
    ],
)
def test_a_fact_without_source_date_status_or_name_is_refused(change: dict[str, str]) -> None:
    assert Fact.model_validate(FACT).id == "b200-memory"
    with pytest.raises(ValidationError):
        Fact.model_validate({**FACT, **change})


@pytest.mark.parametrize("key", list(FACT))
def test_nothing_of_a_fact_can_be_left_out(key: str) -> None:
    with pytest.raises(ValidationError):
        Fact.model_validate({name: value for name, value in FACT.items() if name != key})


def test_the_oldest_date_counts() -> None:
    newer = Fact.model_validate({**FACT, "checked": "2027-01-01"})
    assert oldest([newer, Fact.model_validate(FACT)]) == "2026-11-24"


def test_no_text_of_the_data_is_cut_at_an_issue_number() -> None:
    """YAML takes `` #8956`` in a plain scalar for a comment."""
    cut = re.compile(r"^\s*(- )?([\w-]+: )?[^\s#\"'\[{>|&*][^\"']* #\d")
    lines = [
        (path.name, number, line)
        for path in sorted((ROOT / "toolkit/trtllm/data").glob("*.yaml"))
        for number, line in plain_lines(path.read_text(encoding="utf-8"))
        if cut.match(line)
    ]
    assert lines == []


def plain_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that are not inside a folded block, where # is a character."""
    block = -1
    for number, line in enumerate(text.splitlines(), start=1):
        indent = len(line) - len(line.lstrip())
        if block >= 0 and (not line.strip() or indent > block):
            continue
        block = indent if re.search(r"(>-|\|-|>|\|)$", line) else -1
        yield number, line

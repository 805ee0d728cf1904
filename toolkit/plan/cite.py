"""Facts as a plan quotes them."""

from __future__ import annotations

from toolkit.plan.types import Evidence, Note
from toolkit.trtllm import Fact, load_targets


def evidence(fact: Fact) -> Evidence:
    return Evidence(fact.statement, fact.source, fact.status, fact.checked, fact.id)


def cite(id: str) -> Evidence:
    """The fact of that id in ``toolkit/trtllm/data``."""
    return evidence(load_targets().fact(id))


def note(id: str, what: str = "") -> Note:
    """What a user should know, with the fact behind it; ``what`` in place of the fact's own words."""
    return noted(load_targets().fact(id), what)


def noted(fact: Fact, what: str = "") -> Note:
    sure = "" if fact.status == "verified" else f", {fact.status}"
    return Note(what or fact.statement, f"{fact.source}{sure}, {fact.checked}")

"""One sourced statement, and the reader of the data files that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Status = Literal["verified", "inferred", "unverified", "contested"]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fact(Record):
    """``status``: read in the source itself, inferred from it, not settled by it, or sources disagree.

    ``source`` names a file @commit, pull request, issue or page; ``checked`` is the day it was read (YYYY-MM-DD).
    """

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    statement: Text
    source: Text
    checked: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    status: Status


def read(name: str) -> dict[str, Any]:
    """``data/<name>.yaml``. Dates are quoted there, so every scalar has the type that the models expect."""
    text = (files("toolkit.trtllm") / "data" / f"{name}.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: dict[str, Any] = yaml.load(text, Loader=loader)
    return document


def named_facts(owner: str, entries: Mapping[str, Mapping[str, Any]], checked: str) -> dict[str, dict[str, Any]]:
    """Facts by key, each with the id ``<owner>-<key>`` and, unless it has its own, the file's ``checked`` date."""
    return {key: {"id": f"{owner}-{key}", "checked": checked, **entry} for key, entry in entries.items()}


def oldest(facts: Iterable[Fact]) -> str:
    """The earliest ``checked`` date: everything was still true then, as far as the sources say."""
    return min(fact.checked for fact in facts)

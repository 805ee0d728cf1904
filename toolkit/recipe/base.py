"""What every section of a recipe is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _to_path(value: object) -> Path:
    """A path as a recipe gives it, ``~`` expanded."""
    if value is None or value == "":
        raise ValueError("give a path; this is empty")
    if not isinstance(value, str | Path):
        raise ValueError("a path is text")
    if "\0" in str(value):
        raise ValueError("a path cannot hold a NUL character")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"no home folder is known for {Path(value).parts[0]}") from None


RecipePath = Annotated[Path, BeforeValidator(_to_path)]
Length = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

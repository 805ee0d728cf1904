"""Read one record from its JSON file, of this schema or an older one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from toolkit.errors import RecordError

Model = TypeVar("Model", bound=BaseModel)
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


def read_record(path: Path, model: type[Model], upgrades: Mapping[int, Upgrade]) -> Model:
    """The record at ``path``; ``upgrades`` turn a document of an older ``schema_version`` into one of ``model``'s.

    Raises ``RecordError`` for a file that cannot be read, is cut, of another schema or does not fit it.
    """
    data = read_bytes(path)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise RecordError(f"not a whole {model.__name__} record", where=str(path)) from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    newest = model.model_fields["schema_version"].default
    upgrade = upgrades.get(version) if isinstance(version, int) else None
    if version != newest and upgrade is None:
        known = " and ".join(map(str, sorted({*upgrades, newest})))
        what = f"not a {model.__name__} record that this version reads: schema {version!r}, not {known}"
        raise RecordError(what, where=str(path))
    try:
        if upgrade is not None:
            data = json.dumps(upgrade(document)).encode()
        return model.model_validate_json(data)
    except (ValidationError, KeyError, AttributeError, TypeError) as error:
        raise RecordError(f"not a whole {model.__name__} record: {first_line(error)}", where=str(path)) from None


def read_bytes(path: Path) -> bytes:
    """The file's bytes; ``RecordError`` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read it: {error.strerror}", where=str(path)) from None


def first_line(error: Exception) -> str:
    """What a validation found first."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        keys = ".".join(str(part) for part in first["loc"])
        return f"{keys}: {first['msg']}" if keys else first["msg"]
    return str(error)

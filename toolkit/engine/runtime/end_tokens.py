"""The token ids that end an answer, as a checkpoint states them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toolkit.errors import CheckpointError


def read_eos_ids(folder: Path) -> tuple[int, ...]:
    """``eos_token_id`` (one or a list) of generation_config.json, else of config.json; empty where neither has one."""
    for name in ("generation_config.json", "config.json"):
        value = _read(folder / name).get("eos_token_id")
        if value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        if not all(isinstance(token, int) and token >= 0 for token in ids):
            raise CheckpointError(f"eos_token_id is {value!r}, not a token id or a list", where=str(folder / name))
        return tuple(ids)
    return ()


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"not JSON: {error}", where=str(path)) from None
    if not isinstance(value, dict):
        raise CheckpointError("not a JSON object", where=str(path))
    return value

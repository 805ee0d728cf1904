"""The token ids that end an answer, as a checkpoint states them."""

from __future__ import annotations

from pathlib import Path

from toolkit.checkpoint.source import read_json
from toolkit.errors import CheckpointError


def read_eos_ids(folder: Path) -> tuple[int, ...]:
    """``eos_token_id`` (one or a list) of generation_config.json, else of config.json; empty where neither has one."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        value = read_json(path).get("eos_token_id") if path.is_file() else None
        if value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        if not all(isinstance(token, int) and token >= 0 for token in ids):
            raise CheckpointError(f"eos_token_id is {value!r}, not a token id or a list", where=str(folder / name))
        return tuple(ids)
    return ()

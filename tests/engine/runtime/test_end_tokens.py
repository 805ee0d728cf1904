"""Where the end tokens come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.engine.runtime.end_tokens import read_eos_ids
from toolkit.errors import CheckpointError


def folder(path: Path, generation: str | None, config: str | None) -> Path:
    for name, text in (("generation_config.json", generation), ("config.json", config)):
        if text is not None:
            (path / name).write_text(text)
    return path


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ('{"eos_token_id": [200002, 200012]}', '{"eos_token_id": 7}', (200002, 200012)),
        ('{"eos_token_id": 3}', '{"eos_token_id": 7}', (3,)),
        ('{"eos_token_id": null}', '{"eos_token_id": 7}', (7,)),
        (None, '{"eos_token_id": [7, 8]}', (7, 8)),
        (None, "{}", ()),
        (None, None, ()),
    ],
)
def test_generation_config_comes_first(
    tmp_path: Path, generation: str | None, config: str | None, expected: tuple[int, ...]
) -> None:
    assert read_eos_ids(folder(tmp_path, generation, config)) == expected


@pytest.mark.parametrize(
    ("generation", "what"),
    [
        ('{"eos_token_id": "2"}', "eos_token_id is '2', not a token id or a list"),
        ('{"eos_token_id": [2, -1]}', "eos_token_id is [2, -1], not a token id or a list"),
        ("{", "is not JSON ("),
        ("[]", "is not a JSON object"),
    ],
)
def test_refuses_what_is_not_a_token(tmp_path: Path, generation: str, what: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_eos_ids(folder(tmp_path, generation, None))
    assert caught.value.what.startswith(what)
    assert caught.value.where == str(tmp_path / "generation_config.json")

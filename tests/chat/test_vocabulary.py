from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.chat import o200k
from tests.preflight.made_up import without_temporary_folder
from toolkit.chat import vocabulary
from toolkit.chat.harmony import HarmonyChat
from toolkit.chat.vocabulary import O200K, Place
from toolkit.errors import ChatError, CheckpointError

NAME = "o200k_base.tiktoken"
DOWNLOADED = "fb374d419588a4632f3f557e76b4b70aebbca790"  # the SHA-1 of its URL, as tiktoken caches name it


@pytest.fixture(scope="session")
def tokenizer() -> dict[str, Any]:
    return o200k.tokenizer_json()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Folders where nothing is yet."""
    return {
        "TIKTOKEN_ENCODINGS_BASE": str(tmp_path / "base"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TIKTOKEN_RS_CACHE_DIR": str(tmp_path / "downloads"),
    }


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_tokenizer_json_gives_the_file_back(tokenizer: dict[str, Any]) -> None:
    data = vocabulary.rebuild(tokenizer, "x")
    assert data == o200k.vocabulary()
    assert hashlib.sha256(data).hexdigest() == O200K.sha256
    assert vocabulary.is_harmony(tokenizer)


def test_special_tokens_in_the_vocabulary_are_left_out(tokenizer: dict[str, Any]) -> None:
    model = {**tokenizer["model"], "vocab": {**tokenizer["model"]["vocab"], **o200k.SPECIAL}}
    assert vocabulary.rebuild({**tokenizer, "model": model}, "x") == o200k.vocabulary()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vocab": {"a": 0}}, f"x: has Harmony's markers, but its vocabulary is not {NAME} (another SHA-256)"),
        ({"vocab": {"▁a": 0}}, "x: has no byte-level vocabulary"),
        ({"vocab": [["a", 0.5]]}, "x: has no byte-level vocabulary"),
        ({"vocab": {"a": "b"}}, "x: has no byte-level vocabulary"),
    ],
)
def test_another_vocabulary_is_refused(tokenizer: dict[str, Any], change: dict[str, Any], said: str) -> None:
    with pytest.raises(ChatError) as error:
        vocabulary.rebuild({**tokenizer, "model": change}, "x")
    assert str(error.value).startswith(said)


def test_the_tokenizer_of_the_sample_is_not_gpt_oss_s(sample: Path) -> None:
    assert not vocabulary.is_harmony(vocabulary.read_tokenizer(sample / "tokenizer.json"))
    for added in (None, [], ["x"], [{"content": "<|channel|>", "id": 200005}]):
        assert not vocabulary.is_harmony({"added_tokens": added})


def test_where_the_file_is_looked_for(environment: dict[str, str], tmp_path: Path) -> None:
    assert vocabulary.find(environment) is None
    data = o200k.vocabulary()
    downloaded = put(tmp_path / "downloads" / DOWNLOADED, data)
    assert vocabulary.find(environment) == Place(downloaded, "download")
    kept = put(tmp_path / "cache" / "trtkit" / "harmony" / NAME, data)
    assert vocabulary.find(environment) == Place(kept, "cache")
    base = put(tmp_path / "base" / NAME, data[:-1])
    assert vocabulary.find(environment) == Place(kept, "cache")
    base.write_bytes(data)
    assert vocabulary.find(environment) == Place(base, "base")


def test_home_is_where_the_cache_is_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert vocabulary.cache_folder({}) == tmp_path / ".cache" / "trtkit" / "harmony"


def test_a_checkpoint_s_own_is_kept(environment: dict[str, str], tokenizer: dict[str, Any], tmp_path: Path) -> None:
    with vocabulary.provided(tokenizer, "x", environment) as folder:
        assert folder == tmp_path / "cache" / "trtkit" / "harmony"
    assert (folder / NAME).read_bytes() == o200k.vocabulary()
    with vocabulary.provided({}, "not needed again", environment) as again:
        assert again == folder


def test_a_download_is_kept_under_the_name_that_openai_harmony_reads(
    environment: dict[str, str], tmp_path: Path
) -> None:
    put(tmp_path / "downloads" / DOWNLOADED, o200k.vocabulary())
    with vocabulary.provided({}, "not needed", environment) as folder:
        assert (folder / NAME).read_bytes() == o200k.vocabulary()


def test_a_cache_that_takes_no_file(environment: dict[str, str], tokenizer: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with vocabulary.provided(tokenizer, "x", environment) as folder:
        assert (folder / NAME).read_bytes() == o200k.vocabulary()
    assert not folder.exists()


def test_the_download_where_no_temporary_folder_takes_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    without_temporary_folder(monkeypatch)
    assert vocabulary.download({"TMPDIR": "/nowhere"}) == Path("/nowhere/tiktoken-rs-cache", DOWNLOADED)


def test_harmony_opens_on_it_without_network_and_leaves_the_environment(
    environment: dict[str, str], tokenizer: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert HarmonyChat.open(tokenizer, "x").stop_token_ids == (200002, 200012)
    assert os.environ["TIKTOKEN_ENCODINGS_BASE"] == environment["TIKTOKEN_ENCODINGS_BASE"]
    monkeypatch.delenv("TIKTOKEN_ENCODINGS_BASE")
    assert HarmonyChat.open({}, "x").stop_token_ids == (200002, 200012)
    assert "TIKTOKEN_ENCODINGS_BASE" not in os.environ


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"{", "not a tokenizer: "), (b"[]", "not a tokenizer: no JSON object"), (None, "cannot be read")],
)
def test_no_tokenizer(tmp_path: Path, text: bytes | None, said: str) -> None:
    path = tmp_path / "tokenizer.json"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(CheckpointError) as error:
        vocabulary.read_tokenizer(path)
    assert str(error.value).startswith(f"{path}: {said}")


def test_a_tokenizer_beyond_any_size_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "tokenizer.json", json.dumps({"a": "b"}).encode())
    monkeypatch.setattr(vocabulary, "MAX_BYTES", 4)
    with pytest.raises(CheckpointError, match="no JSON object of a tokenizer's size"):
        vocabulary.read_tokenizer(path)

"""The Hub's cache on disk: a snapshot counts when it is whole. No network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from tests.helpers import INDEX, write_checkpoint
from toolkit.checkpoint import hub
from toolkit.errors import CheckpointError

COMMIT = "0" * 40
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
WEIGHTS = {"a": ("U8", np.zeros(1, np.uint8))}


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache keeps owner/name at main."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--owner--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    return repo / "snapshots" / COMMIT


def test_nothing_there(snapshot: Path) -> None:
    assert hub.cached("owner/name", "main") is None
    assert hub.cached("owner/other", None) is None


@pytest.mark.parametrize("shards", [("model.safetensors",), (FIRST, SECOND)])
def test_a_whole_snapshot(snapshot: Path, shards: tuple[str, ...]) -> None:
    write_checkpoint(snapshot, {shard: {f"{shard}.a": WEIGHTS["a"]} for shard in shards})
    assert hub.cached("owner/name", "main") == hub.cached("owner/name", None) == snapshot


@pytest.mark.parametrize("missing", [SECOND, INDEX, "config.json"])
def test_an_interrupted_download_is_not_there(snapshot: Path, missing: str) -> None:
    write_checkpoint(snapshot, {FIRST: {"a": WEIGHTS["a"]}, SECOND: {"b": WEIGHTS["a"]}})
    (snapshot / missing).unlink()
    assert hub.cached("owner/name", "main") is None


def test_a_link_to_a_blob_that_has_not_come_is_not_a_shard(snapshot: Path) -> None:
    write_checkpoint(snapshot, {"model.safetensors": WEIGHTS})
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to("../../blobs/absent")
    assert hub.cached("owner/name", "main") is None


@pytest.mark.parametrize("call", [hub.cached, hub.fetch])
def test_a_name_that_the_hub_refuses(call: object) -> None:
    with pytest.raises(CheckpointError) as caught:
        call("owner/name.git", None)  # type: ignore[operator]
    assert str(caught.value).startswith("hub:owner/name.git: not a Hub repository: Repo_id cannot end by '.git'")


def test_without_a_network_the_error_says_how_to_fetch_it(snapshot: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        hub.fetch("owner/other", None)
    message = str(caught.value)
    assert message.startswith("hub:owner/other: cannot download it: ")
    assert message.endswith("Type: hf download owner/other --local-dir DIR, then add --set checkpoint.path=DIR")
    assert ".." not in message

"""The Hub and its cache on disk: a snapshot counts when it is whole. Against a stand-in of the Hub; no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants

from tests.checkpoint.hub_stand_in import COMMIT, Fault, HubStandIn, serve
from tests.helpers import INDEX, write_checkpoint
from toolkit.checkpoint import hub
from toolkit.errors import CheckpointError

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


def test_offline_the_error_says_so(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for call in (hub.fetch, hub.listing):
        with pytest.raises(CheckpointError) as caught:
            call("owner/other", None)
        what = "the Hub may not be asked: HF_HUB_OFFLINE is set. Type: unset HF_HUB_OFFLINE"
        assert str(caught.value) == f"hub:owner/other: {what}"


def test_a_cache_that_may_not_be_read(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_permission(*_: object, **__: object) -> NoReturn:
        raise PermissionError(13, "Permission denied", "/cache/refs/main")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_permission)
    with pytest.raises(CheckpointError) as caught:
        hub.cached("owner/name", None)
    what = "cannot be read (Permission denied). Make it readable for this user (chmod, chown)"
    assert str(caught.value) == f"/cache/refs/main: {what}"


def test_a_full_disk(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(CheckpointError) as caught:
        hub.fetch("owner/name", "v1")
    by_hand = "Type: hf download owner/name --revision v1 --local-dir DIR, then use DIR"
    assert str(caught.value) == f"hub:owner/name@v1: cannot be downloaded: No space left on device. {by_hand}"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """owner/name as openai publishes: weights, tokenizer and, in folders beside, the same weights in other formats."""
    folder = write_checkpoint(tmp_path / "published", {FIRST: {"a": WEIGHTS["a"]}, SECOND: {"b": WEIGHTS["a"]}})
    for file in ("README.md", "chat_template.jinja", "original/model.safetensors", "original/config.json"):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(file)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    with serve(monkeypatch, tmp_path / "cache") as stand_in:
        stand_in.add("owner/name", folder)
        yield stand_in


def sizes(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_a_listing_is_one_call_and_no_file(stand_in: HubStandIn, tmp_path: Path) -> None:
    there = hub.listing("owner/name", None)
    assert there == hub.Listing("owner/name", COMMIT, sizes(tmp_path / "published"))
    assert [request[:2] for request in stand_in.asked] == [("GET", "/api/models/owner/name")]
    assert hub.listing("owner/name", "main") == there
    assert not stand_in.sent


def test_what_a_fetch_would_download_is_what_it_downloads(stand_in: HubStandIn, tmp_path: Path) -> None:
    there = hub.listing("owner/name", "main")
    wanted = {"config.json", "chat_template.jinja", INDEX, FIRST, SECOND}
    total = sum(there.files[name] for name in wanted)
    assert hub.missing(there) == ({name: there.files[name] for name in wanted}, 0)
    folder = hub.fetch("owner/name", "main")
    assert sizes(folder) == {name: there.files[name] for name in wanted} == dict(stand_in.sent)
    assert hub.missing(there) == ({}, total)
    (folder / SECOND).unlink()
    size = there.files[SECOND]
    assert hub.missing(there) == ({SECOND: size}, total - size)
    assert hub.cached("owner/name", "main") is None


def test_a_cached_file_of_another_size_would_be_downloaded(stand_in: HubStandIn) -> None:
    folder = hub.fetch("owner/name", "main")
    there = hub.listing("owner/name", "main")
    (folder / FIRST).resolve().write_bytes(b"")
    assert hub.missing(there)[0] == {FIRST: there.files[FIRST]}


@pytest.mark.parametrize("fault", ["gated", "private", "bad-token", "down"])
def test_a_fetch_that_is_refused_says_why(stand_in: HubStandIn, fault: Fault) -> None:
    stand_in.fault = fault
    with pytest.raises(CheckpointError) as listed:
        hub.listing("owner/name", None)
    with pytest.raises(CheckpointError) as fetched:
        hub.fetch("owner/name", None)
    assert str(fetched.value) == str(listed.value)


@pytest.mark.parametrize("fault", ["not-json", "deep", "not-a-model", "no-sizes"])
def test_an_answer_that_is_no_hub_s(stand_in: HubStandIn, fault: Fault) -> None:
    stand_in.fault = fault
    what = f"the answer of {stand_in.url} is not the Hub's description of a repository and its files"
    for call in (hub.listing, hub.fetch) if fault in ("not-json", "deep") else (hub.listing,):
        with pytest.raises(CheckpointError) as caught:
            call("owner/name", None)
        assert str(caught.value) == f"hub:owner/name: {what}. Check HF_ENDPOINT and the proxy"


def test_a_description_without_end_is_not_read(stand_in: HubStandIn, tmp_path: Path) -> None:
    stand_in.add("owner/name", tmp_path / "published", revision="a b")
    stand_in.fault = "endless"
    with pytest.raises(CheckpointError) as caught:
        hub.listing("owner/name", "a b")
    what = f"the Hub's description of the repository has over {16 << 20} bytes"
    by_hand = "Type: hf download owner/name --revision 'a b' --local-dir DIR, then use DIR"
    assert str(caught.value) == f"hub:owner/name@a b: {what}. {by_hand}"
    assert stand_in.sent["description"] < 48 << 20  # what the sockets had room for beyond


def test_the_password_of_the_endpoint_is_not_printed(stand_in: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", stand_in.url.replace("//", "//me:secret@"))
    faults: tuple[Fault, ...] = ("not-json", "gated", "private", "forbidden", "disabled", "no-entry", "hang-up", "loop")
    for stand_in.fault in faults:
        for call in (hub.listing, hub.fetch):
            with pytest.raises(CheckpointError) as caught:
                call("owner/name", None)
            assert stand_in.url in str(caught.value)
            assert "secret" not in str(caught.value)
    monkeypatch.setattr(constants, "ENDPOINT", "ftp://me:sec/ret@hub")
    with pytest.raises(CheckpointError) as caught:
        hub.listing("owner/name", None)
    assert str(caught.value) == "hub:owner/name: HF_ENDPOINT is 'ftp://hub', not a URL. Type: unset HF_ENDPOINT"


@pytest.mark.parametrize("url", ["huggingface.co", "ftp://hub", "http://hub:port", "http://[::1", ""])
def test_an_endpoint_that_is_no_url(stand_in: HubStandIn, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    for call in (hub.fetch, hub.listing):
        with pytest.raises(CheckpointError) as caught:
            call("owner/name", None)
        assert str(caught.value) == f"hub:owner/name: HF_ENDPOINT is {url!r}, not a URL. Type: unset HF_ENDPOINT"


@pytest.mark.parametrize("token", ["hf_\u2026", "hf_a\x01b"])
def test_a_token_that_no_header_can_hold_is_not_printed(
    stand_in: HubStandIn, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(CheckpointError) as caught:
        hub.listing("owner/name", None)
    hint = "Correct HF_TOKEN if it is set, or type: hf auth login"
    assert str(caught.value) == f"hub:owner/name: the Hub's token has characters that none has. {hint}"
    assert stand_in.asked == []

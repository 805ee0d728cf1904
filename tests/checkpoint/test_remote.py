"""The census of a repository on a stand-in of the Hub: as of the folder, from headers alone; and each fault."""

from __future__ import annotations

import json
import re
import shlex
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from tests.checkpoint.hub_stand_in import COMMIT, Fault, HubStandIn, point_at, serve
from tests.helpers import INDEX, Tensors, safetensors_bytes, write_checkpoint, write_json
from toolkit.checkpoint import transport
from toolkit.checkpoint.census import take_census
from toolkit.checkpoint.remote import FIRST_RANGE, read_census
from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import CheckpointError

REPO = "owner/name"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
AGAIN = "Type the same command again"
BY_HAND = f"Type: hf download {REPO} --local-dir DIR, then use DIR"
OTHER = "Name another revision, or tell the repository's owner"
LOG_IN = "hf auth login"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    with serve(monkeypatch) as stand_in:
        yield stand_in


def large(name: str, tensors: int = 1) -> Tensors:
    """More data than a first range holds, and with a few hundred tensors also a longer header."""
    return {f"{name}.{number}": ("U8", np.zeros(200_000 // tensors, np.uint8)) for number in range(tensors)}


@pytest.fixture
def folder(tmp_path: Path, hub: HubStandIn) -> Path:
    """What ``REPO`` serves."""
    shards = {FIRST: large("short"), SECOND: large("long", 700)}
    folder = write_checkpoint(tmp_path / "published", shards, quant_config={"quantization": {"quant_algo": "NVFP4"}})
    write_json(folder / "tokenizer.json", {"model": "x" * 100_000})
    (folder / "original").mkdir()
    (folder / "original" / "model.safetensors").write_bytes(bytes(100_000))
    hub.add(REPO, folder)
    return folder


def header_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def message_of(revision: str | None = None, repo: str = REPO) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_census(repo, revision)
    return str(caught.value).removeprefix(f"hub:{repo}")


@pytest.mark.parametrize(
    "name",
    [
        "gpt-oss-nvfp4-sharded-modelopt-0.37",
        "gpt-oss-nvfp4-mlponly-modelopt-0.37",
        "llama-nvfp4-modelopt-0.37",
        "llama-bf16",
    ],
)
def test_the_census_is_that_of_the_folder(hub: HubStandIn, shared_fixtures: Path, name: str) -> None:
    folder = shared_fixtures / f"tiny-{name}"
    hub.add(REPO, folder)
    with Checkpoint.open(folder) as checkpoint:
        expected = take_census(checkpoint)
    assert read_census(REPO, None) == replace(expected, where="hub:owner/name")
    assert read_census(REPO, "main") == replace(expected, where="hub:owner/name@main")


def test_headers_alone_are_transferred(hub: HubStandIn, folder: Path) -> None:
    long_header = header_bytes(folder / SECOND)
    assert header_bytes(folder / FIRST) < FIRST_RANGE < long_header < FIRST_RANGE * 2
    read_census(REPO, None)
    small = {name: (folder / name).stat().st_size for name in ("config.json", "hf_quant_config.json", INDEX)}
    assert hub.sent == Counter({**small, FIRST: FIRST_RANGE, SECOND: long_header})
    ranges = sorted({asked for _, path, asked, _ in hub.asked if path.endswith(SECOND)}, key=str)
    assert ranges == [f"bytes=0-{FIRST_RANGE - 1}", f"bytes={FIRST_RANGE}-{long_header - 1}"]


def test_a_small_shard_is_not_asked_for_beyond_its_end(hub: HubStandIn, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, {"model.safetensors": {"a": ("U8", np.zeros(3, np.uint8))}})
    hub.add(REPO, folder)
    assert list(read_census(REPO, None).tensors) == ["a"]
    assert hub.sent["model.safetensors"] == (folder / "model.safetensors").stat().st_size


def test_every_read_is_of_the_commit_that_the_revision_was_resolved_to(hub: HubStandIn, folder: Path) -> None:
    read_census(REPO, "main")
    paths = [path for _, path, _, _ in hub.asked]
    assert paths[0] == f"/api/models/{REPO}/revision/main"
    assert {path.split("/resolve/")[1].split("/")[0] for path in paths[1:]} == {COMMIT}


def test_the_token_is_for_the_hub_and_not_for_its_storage(
    hub: HubStandIn, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    read_census(REPO, None)
    tokens = {(path.startswith("/storage/"), token) for _, path, _, token in hub.asked}
    assert tokens == {(False, "Bearer hf_secret"), (True, None)}


def test_a_server_that_ignores_ranges_does_not_make_us_download(hub: HubStandIn, tmp_path: Path) -> None:
    shard = {"a": ("U8", np.zeros(64 << 20, np.uint8))}
    hub.add(REPO, write_checkpoint(tmp_path, {"model.safetensors": shard}))
    hub.fault = "ignore-range"
    size = (tmp_path / "model.safetensors").stat().st_size
    what = f"the server ignores byte ranges (status 200), so its {size} bytes would have to come. {BY_HAND}"
    assert message_of() == f"/model.safetensors: {what}"
    assert hub.sent["model.safetensors"] < size // 2  # what the sockets had room for


def test_a_server_that_ignores_ranges_may_send_a_whole_small_file(hub: HubStandIn, sample: Path) -> None:
    hub.add(REPO, sample)
    hub.fault, hub.fault_at = "ignore-range", ".json"
    assert read_census(REPO, None).architecture == "GptOssForCausalLM"


REFUSED = {
    "gated": (
        "the repository is gated: its licence has to be accepted first",
        f"Accept it at URL/{REPO}, then type: {LOG_IN}",
    ),
    "private": (
        "the Hub has no such repository, or it is private (401)",
        f"Check the name at URL/{REPO}; for a private one type: {LOG_IN}",
    ),
    "bad-token": ("the Hub does not know the token", f"Correct HF_TOKEN if it is set, or type: {LOG_IN}"),
    "forbidden": ("the token may not read it (403)", "Allow the token to read it at URL/settings/tokens"),
    "disabled": ("the repository is disabled", f"See URL/{REPO}"),
    "rate-limited": (
        "the Hub answers that there were too many requests (429)",
        f"{AGAIN} in 30 s, or log in for a higher limit: {LOG_IN}",
    ),
    "rate-limited-by-window": (
        "the Hub answers that there were too many requests (429)",
        f"{AGAIN} in 55 s, or log in for a higher limit: {LOG_IN}",
    ),
    "rate-limited-without-end": (
        "the Hub answers that there were too many requests (429)",
        f"{AGAIN} later, or log in for a higher limit: {LOG_IN}",
    ),
    "down": ("the Hub has a fault of its own (503)", f"{AGAIN} later"),
    "teapot": ("the Hub refuses the request (418)", BY_HAND),
    "hang-up": ("URL broke off its answer", AGAIN),
    "loop": ("URL redirects in a circle", "Check HF_ENDPOINT and the proxy"),
    "silent": (
        "URL did not answer within 0.1 s",
        f"{AGAIN}, or set HF_HUB_DOWNLOAD_TIMEOUT to more seconds",
    ),
}


@pytest.mark.parametrize("at", ["/api/", f"{COMMIT}/{SECOND}"], ids=["api", "shard"])
@pytest.mark.parametrize("fault", REFUSED)
def test_what_the_hub_may_answer(
    hub: HubStandIn, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, at: str
) -> None:
    if fault == "silent":
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    hub.fault, hub.fault_at = fault, at
    what, hint = REFUSED[fault]
    place = "" if at == "/api/" else f"/{SECOND}"
    assert message_of() == f"{place}: {what}. {hint}".replace("URL", hub.url)


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("other-range", f"the server sent 'bytes 1-LAST/SIZE' where bytes 0-LAST/SIZE were asked for. {BY_HAND}"),
        ("other-size", f"the server sent 'bytes 0-LAST/MORE' where bytes 0-LAST/SIZE were asked for. {BY_HAND}"),
        ("long-body", f"the server sent more than {FIRST_RANGE} bytes. {AGAIN}"),
        ("small-body", f"the server sent {FIRST_RANGE - 1} of {FIRST_RANGE} bytes. {AGAIN}"),
        ("short-body", f"STORAGE broke off its answer. {AGAIN}"),
        ("hang-up", f"STORAGE broke off its answer. {AGAIN}"),
    ],
)
def test_what_the_storage_may_answer(hub: HubStandIn, folder: Path, fault: Fault, what: str) -> None:
    hub.fault, hub.fault_at = fault, f"/storage/{REPO}/resolve/{COMMIT}/{FIRST}"
    size = (folder / FIRST).stat().st_size
    words = {"SIZE": str(size), "MORE": str(size + 1), "LAST": str(FIRST_RANGE - 1), "STORAGE": hub.storage}
    for word, value in words.items():
        what = what.replace(word, value)
    assert message_of() == f"/{FIRST}: {what}"


@pytest.mark.parametrize("at", ["/api/", "/resolve/", "/storage/"])
def test_a_redirection_to_what_is_no_url(hub: HubStandIn, folder: Path, at: str) -> None:
    """requests and httpx differ in who is to blame."""
    hub.fault, hub.fault_at = "lost", at
    asking = rf"asking {hub.url} led to what is no URL\. Check HF_ENDPOINT and the proxy"
    assert re.fullmatch(rf"(/[^:]+)?: ({asking}|http://127.0.0.1:\d+ broke off its answer\. {AGAIN})", message_of())


@pytest.mark.parametrize("fault", ["down", "rate-limited-without-end", "hang-up", "short-body"])
def test_a_fault_that_passes_is_not_met(hub: HubStandIn, folder: Path, fault: Fault) -> None:
    expected = read_census(REPO, None)
    for at in ("/api/", "/config.json", f"/storage/{REPO}/resolve/{COMMIT}/{FIRST}"):
        hub.fault, hub.fault_at, hub.fault_times = fault, at, 1
        assert read_census(REPO, None) == expected
        assert hub.fault_times == 0


@pytest.mark.parametrize(("fault", "tries"), [("down", 2), ("hang-up", 2), ("rate-limited", 1), ("gated", 1)])
def test_one_other_try_where_it_may_help(hub: HubStandIn, folder: Path, fault: Fault, tries: int) -> None:
    hub.fault, hub.fault_at = fault, "/config.json"
    message_of()
    assert sum(path.endswith("/config.json") for _, path, _, _ in hub.asked) == tries


def test_a_server_that_drips(hub: HubStandIn, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(0, 3600)
    monkeypatch.setattr(transport, "monotonic", lambda: next(clock) if hub.asked[-1][1].endswith("/config.json") else 0)
    write_json(folder / "config.json", {"long": "x" * 400_000})  # more than a client takes from a socket at once
    what = r"the server sent \d+ bytes in 3600 s and has not ended"
    hint = f"{AGAIN}, or set HF_HUB_DOWNLOAD_TIMEOUT to more seconds"
    assert re.fullmatch(f"/config.json: {what}. {hint}", message_of())


@pytest.mark.parametrize("revision", ["v1", "a b"])
def test_the_command_to_type_has_the_revision(hub: HubStandIn, folder: Path, revision: str) -> None:
    hub.add(REPO, folder, revision=revision)
    hub.fault, hub.fault_at = "teapot", "/config.json"
    command = f"hf download {REPO} --revision {shlex.quote(revision)} --local-dir DIR, then use DIR"
    what = f"the Hub refuses the request (418). Type: {command}"
    assert message_of(revision) == f"@{revision}/config.json: {what}"


def test_shards_are_checked_one_by_one(hub: HubStandIn, tmp_path: Path) -> None:
    """An index of a few lines must not bring the headers of all shards into memory."""
    names = [f"model-{number:05}-of-00020.safetensors" for number in range(20)]
    one = ("U8", np.zeros(1, np.uint8))
    shards = {name: {name: one, f"{name}.more": one} for name in names}
    hub.add(REPO, write_checkpoint(tmp_path, shards, weight_map={name: name for name in names}))
    assert f"/{names[0]}, tensor '{names[0]}.more', byte " in message_of()
    assert len({path for _, path, _, _ in hub.asked if path.endswith(".safetensors") and "storage" in path}) <= 5


def test_no_such_repository_and_no_such_revision(hub: HubStandIn, folder: Path) -> None:
    what = "the Hub has no such repository, or it is private (404)"
    hint = f"Check the name at {hub.url}/owner/other; for a private one type: {LOG_IN}"
    assert message_of(repo="owner/other") == f": {what}. {hint}"
    what = f"there is no revision 'v9'. See the branches at {hub.url}/{REPO}/tree/main"
    assert message_of("v9") == f"@v9: {what}"


@pytest.mark.parametrize("at", ["api", "storage"])
def test_a_refused_connection_names_who_refused(
    hub: HubStandIn, folder: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    with socket.socket() as unheard:  # bound but not listening: nobody else gets the port
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        if at == "api":
            point_at(monkeypatch, url)
        else:
            hub.storage = url
        hint = f"Check the network, the proxy and HF_ENDPOINT, or elsewhere t{BY_HAND[1:]}"
        place = "" if at == "api" else f"/{FIRST}"
        assert message_of() == f"{place}: {url} cannot be reached (Connection refused). {hint}"


def test_offline(hub: HubStandIn, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert message_of() == ": the Hub may not be asked: HF_HUB_OFFLINE is set. Type: unset HF_HUB_OFFLINE"
    assert hub.asked == []


def test_a_file_that_vanishes_between_listing_and_reading(hub: HubStandIn, folder: Path) -> None:
    hub.fault, hub.fault_at = "no-entry", INDEX
    what = f"the file is missing in the repository. See its files at {hub.url}/{REPO}/tree/main"
    assert message_of() == f"/{INDEX}: {what}"


def test_a_repository_without_a_checkpoint(hub: HubStandIn, folder: Path) -> None:
    (folder / FIRST).unlink()
    assert message_of() == f"/{INDEX}: the shard {FIRST!r} is missing. {OTHER}"
    (folder / INDEX).unlink()
    assert message_of() == f": the only weights are {SECOND!r}, not model.safetensors. {OTHER}"
    (folder / "config.json").unlink()
    assert message_of() == f": config.json is missing. {OTHER}"


def test_published_files_that_are_damaged(hub: HubStandIn, folder: Path) -> None:
    whole = (folder / FIRST).read_bytes()
    (folder / FIRST).write_bytes(whole[:-1])
    size = len(whole)
    what = f"the file is truncated: {size - 1} bytes long, but this tensor ends at byte {size}. {OTHER}"
    assert message_of() == f"/{FIRST}, tensor 'short.0', byte {header_bytes(folder / FIRST)}: {what}"
    (folder / FIRST).write_bytes(b"")
    what = f"not a safetensors file: 0 bytes long, shorter than the 8-byte header length. {OTHER}"
    assert message_of() == f"/{FIRST}, byte 0: {what}"
    (folder / FIRST).write_bytes(safetensors_bytes(b"[" * 100_000))
    assert message_of() == f"/{FIRST}, byte 8: the header is not JSON (nested too deep). {OTHER}"
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps(index)[:-1])
    assert message_of() == f"/{INDEX}: is not JSON (Expecting ',' delimiter), line 1. {OTHER}"


def test_a_header_length_that_lies_costs_one_range(hub: HubStandIn, folder: Path) -> None:
    with (folder / FIRST).open("r+b") as file:
        file.write((1 << 30).to_bytes(8, "little"))
    follow = (folder / FIRST).stat().st_size - 8
    what = f"the header length is {1 << 30} bytes, but only {follow} bytes follow. {OTHER}"
    assert message_of() == f"/{FIRST}, byte 0: {what}"
    assert hub.sent[FIRST] == FIRST_RANGE


def test_a_header_longer_than_any_is_not_asked_for(hub: HubStandIn, folder: Path) -> None:
    length = 25_000_001
    (folder / FIRST).write_bytes(length.to_bytes(8, "little") + bytes(length))
    what = f"the header length is {length} bytes, over the 25000000 that are read. {OTHER}"
    assert message_of() == f"/{FIRST}, byte 0: {what}"
    assert hub.sent[FIRST] == FIRST_RANGE


def test_a_json_file_too_long_to_be_read_is_not_asked_for(hub: HubStandIn, folder: Path) -> None:
    hub.sizes["config.json"] = (64 << 20) + 1
    what = f"has {(64 << 20) + 1} bytes, too many for a JSON file of a checkpoint. {OTHER}"
    assert message_of() == f"/config.json: {what}"
    assert hub.sent == Counter()

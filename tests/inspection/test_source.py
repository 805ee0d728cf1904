"""From a name to an inspection: folders, the Hub, and what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoint.hub_stand_in import serve
from tests.inspection.variants import Variant
from toolkit.checkpoint.remote import FIRST_RANGE
from toolkit.errors import CheckpointError
from toolkit.inspection import inspect_source
from toolkit.inspection.scalar_checks import CHECKS as SCALAR_CHECKS
from toolkit.inspection.value_checks import IDS as VALUE_CHECKS


def ids(checks: tuple[str, ...]) -> set[str]:
    assert len(checks) == len(set(checks))
    return set(checks)


def test_the_hub_sends_headers_only(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = inspect_source(str(sample))
    with serve(monkeypatch) as hub:
        hub.add("owner/name", sample)
        found = inspect_source("hub:owner/name")
        sent = dict(hub.sent)
    assert {file: size for file, size in sent.items() if file.endswith(".safetensors")} == {
        f"model-0000{shard}-of-00003.safetensors": FIRST_RANGE for shard in (1, 2, 3)
    }
    json_bytes = {
        file: (sample / file).stat().st_size
        for file in ("config.json", "hf_quant_config.json", "model.safetensors.index.json")
    }
    assert {file: size for file, size in sent.items() if file.endswith(".json")} == json_bytes
    assert found.where == "hub:owner/name"
    assert {**found.to_dict(), "where": "", "checks": {}} == {**local.to_dict(), "where": "", "checks": {}}
    scalars = {check.id for check in SCALAR_CHECKS}
    assert ids(found.not_made) == scalars | set(VALUE_CHECKS)
    assert ids(local.made) == ids(found.made) | scalars
    assert ids(local.not_made) == set(VALUE_CHECKS)


def test_a_revision(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(monkeypatch) as hub:
        hub.add("owner/name", sample.parent / "bf16", commit="a" * 40)
        hub.add("owner/name", sample, revision="nvfp4")
        assert inspect_source("hub:owner/name@nvfp4").where == "hub:owner/name@nvfp4"
        assert inspect_source("hub:owner/name@nvfp4").quant is not None
        assert inspect_source("hub:owner/name").quant is None


@pytest.mark.parametrize(("version", "ids"), [("0.43.0", ["copied-input-scale"]), ("0.37.0", [])])
def test_what_the_version_tells_where_no_scalar_was_read(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, ids: list[str]
) -> None:
    variant = Variant.of(sample)
    variant.set_version(version)
    with serve(monkeypatch) as hub:
        hub.add("owner/name", variant.write(tmp_path / "m"))
        found = inspect_source("hub:owner/name").findings
    assert [(each.id, each.severity) for each in found if "input-scale" in each.id] == [(id, "info") for id in ids]


def test_deep_needs_a_folder() -> None:
    with pytest.raises(CheckpointError) as caught:
        inspect_source("hub:owner/name@v1", deep=True)
    assert str(caught.value) == (
        "hub:owner/name@v1: --deep reads the weights, which are not downloaded. "
        "Type: hf download owner/name --revision v1 --local-dir DIR, then: trtkit inspect --deep DIR"
    )


def test_a_repository_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(monkeypatch), pytest.raises(CheckpointError, match=r"^hub:owner/name"):
        inspect_source("hub:owner/name")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("recipes/x.yaml", "is a recipe, not a checkpoint. Type: trtkit plan recipes/x.yaml"),
        ("tiny-gpt-oss/cpu", "is a recipe, not a checkpoint. Type: trtkit plan tiny-gpt-oss/cpu"),
        ("owner/name", "no such folder. On the Hugging Face Hub? Type: trtkit inspect hub:owner/name"),
        ("owner/name@v1", "no such folder. On the Hugging Face Hub? Type: trtkit inspect hub:owner/name@v1"),
        ("some/where/else", "no such folder. Type a folder, or hub:owner/name"),
        ("hub:", "names no repository. Type: trtkit inspect hub:owner/name[@revision]"),
        ("hub:a/b/c", "names no repository. Type: trtkit inspect hub:owner/name[@revision]"),
        ("hub:owner/name@", "names no repository. Type: trtkit inspect hub:owner/name[@revision]"),
        ("n" * 300, "cannot be read (File name too long)"),
    ],
)
def test_what_is_no_checkpoint(name: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        inspect_source(name)
    assert str(caught.value) == f"{name}: {what}"


def test_a_file(sample: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        inspect_source(str(sample / "config.json"))
    assert caught.value.hint == f"Type: trtkit inspect {sample}"


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        inspect_source(str(tmp_path))


def test_a_circle_of_links_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"cannot be read \(Too many levels of symbolic links\)"):
        inspect_source(str(tmp_path / "a"))

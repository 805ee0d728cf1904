from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tests.serving import toy
from toolkit.engine.bundle import Bundle
from toolkit.errors import ServerError
from toolkit.resources import PACKAGE, triton_repo_dir
from toolkit.serving.repository import MARKER, render


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return toy.write_bundle(tmp_path / "bundle")


def parameters(folder: Path, model: str = "tensorrt_llm") -> dict[str, str]:
    config = text_format.Parse((folder / model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert config.name == model
    return {key: value.string_value for key, value in config.parameters.items()}


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_rendered_repository(bundle: Bundle, tmp_path: Path) -> None:
    folder = render(bundle, tmp_path / "repo", model_name="gpt-oss", max_queue_size=7)
    assert folder == tmp_path / "repo"
    assert tree(folder) == [MARKER, "gpt-oss/1/model.py", "gpt-oss/config.pbtxt"]
    assert parameters(folder, "gpt-oss") == {
        "bundle": str(bundle.folder),
        "identity": bundle.manifest["identity"],
        "engine_factory": "toolkit.engine.runtime:open_engine",
        "max_queue_size": "7",
        "coalesce": "true",
        "toolkit_path": str(PACKAGE.parent),
        "text_mode": "delta",
    }
    template = triton_repo_dir() / "tensorrt_llm/1/model.py"
    assert (folder / "gpt-oss/1/model.py").read_bytes() == template.read_bytes()
    assert json.loads((folder / MARKER).read_text())["bundle"] == str(bundle.folder)


def test_rendering_again_replaces_the_folder_as_a_whole(bundle: Bundle, tmp_path: Path) -> None:
    folder = render(bundle, tmp_path / "repo", model_name="old")
    render(bundle, folder, model_name="new")
    assert tree(folder) == [MARKER, "new/1/model.py", "new/config.pbtxt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "repo"]


def test_folder_of_someone_else_is_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/notes.txt").write_text("mine")
    with pytest.raises(ServerError, match=r"repo: this is not a model repository that trtkit rendered"):
        render(bundle, tmp_path / "repo")
    assert tree(tmp_path / "repo") == ["notes.txt"]


def test_empty_folder_is_taken(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    assert parameters(render(bundle, tmp_path / "repo"))["bundle"] == str(bundle.folder)


def test_path_with_quotes_and_dollars(tmp_path: Path) -> None:
    bundle = toy.write_bundle(tmp_path / 'a "b" \\ $bundle é')
    assert parameters(render(bundle, tmp_path / "repo"))["bundle"] == str(bundle.folder)


def test_bundle_without_tokenizer(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.tokenizer_dir / "tokenizer.json").unlink()
    with pytest.raises(ServerError) as caught:
        render(bundle, tmp_path / "repo")
    assert str(caught.value) == (
        f"{bundle.tokenizer_dir}: the bundle has no tokenizer.json, so text cannot be served. "
        "Build it again with --set checkpoint.tokenizer=DIR"
    )
    assert not (tmp_path / "repo").exists()


def test_place_that_cannot_be_written(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerError, match=r"file/repo: cannot write the model repository: \w+"):
        render(bundle, tmp_path / "file/repo")

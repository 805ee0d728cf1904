from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests.engine.building import B200, run, tree
from toolkit.checkpoint.files import sha256_file
from toolkit.engine.bundle import Bundle
from toolkit.errors import BundleError, PlanError


@pytest.fixture
def shards(sample: Path) -> list[str]:
    return sorted(path.name for path in sample.glob("*.safetensors"))


def test_folders_with_similar_names_are_left_alone(root: Path, tmp_path: Path) -> None:
    for name in ("out.old", "out.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("mine")
    run(root, tmp_path / "out")
    run(root, tmp_path / "out", *B200)
    for name in ("out.old", "out.partial"):
        assert (tmp_path / name / "thesis.txt").read_text() == "mine"


def copy_of(sample: Path, folder: Path) -> Path:
    shutil.copytree(sample, folder)
    return folder


@pytest.mark.parametrize("file", ["generation_config.json", "tokenizer_config.json", "hf_quant_config.json"])
def test_a_changed_small_file_is_noticed(root: Path, sample: Path, tmp_path: Path, file: str) -> None:
    source = copy_of(sample, tmp_path / "source")
    overrides = (f"checkpoint.path={source}",)
    run(root, tmp_path / "out", *overrides)
    text = (source / file).read_text()
    (source / file).write_text(text + "\n")
    built = run(root, tmp_path / "out", *overrides)
    assert built.made
    assert (built.bundle.checkpoint_dir / file).read_text() == text + "\n"
    assert built.bundle.manifest["source"]["files"][file]["sha256"] == sha256_file(source / file)


def test_a_changed_shard_is_noticed(root: Path, sample: Path, shards: list[str], tmp_path: Path) -> None:
    source = copy_of(sample, tmp_path / "source")
    overrides = (f"checkpoint.path={source}",)
    run(root, tmp_path / "out", *overrides)
    with (source / shards[1]).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    built = run(root, tmp_path / "out", *overrides)
    assert (built.made, built.reused) == (True, 0)
    assert sha256_file(built.bundle.checkpoint_dir / shards[1]) == sha256_file(source / shards[1])


def test_another_limit_takes_the_shards_over(root: Path, shards: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(root, output, *B200)
    inodes = [(output / "checkpoint" / name).stat().st_ino for name in shards]
    built = run(root, output, *B200, "engine.max_batch_size=4")
    assert (built.made, built.reused) == (True, len(shards))
    assert [(output / "checkpoint" / name).stat().st_ino for name in shards] == inodes
    assert yaml.safe_load((output / "llm_args.yaml").read_text())["max_batch_size"] == 4
    built.bundle.check()


def test_a_source_that_changes_meanwhile(root: Path, sample: Path, shards: list[str], tmp_path: Path) -> None:
    source = copy_of(sample, tmp_path / "source")

    def change(done: int, total: int) -> None:
        if done >= total:
            os.utime(source / shards[0], ns=(0, 0))

    with pytest.raises(BundleError, match=r"source: the source changed while it was read. Build again"):
        run(root, tmp_path / "out", f"checkpoint.path={source}", progress=change)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_link(root: Path, tmp_path: Path) -> None:
    real = tmp_path / "disk" / "real"
    real.parent.mkdir()
    link = tmp_path / "link"
    link.symlink_to(real)
    for overrides in ((), B200):
        assert run(root, link, *overrides).made
        assert link.is_symlink()
        Bundle.open(real).check()
    assert [path.name for path in real.parent.iterdir()] == ["real"]


def test_a_source_inside_the_output_is_kept(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    before = tree(run(root, output).bundle.folder)
    with pytest.raises(BundleError, match=r"out: the source .*out/checkpoint stands inside the output"):
        run(root, output, *B200, f"checkpoint.path={output / 'checkpoint'}")
    assert tree(output) == before


@pytest.mark.parametrize("output", ["/", "."])
def test_outputs_that_cannot_be(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    (tmp_path / "mine").write_text("mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"cannot be a bundle's folder|not an engine bundle"):
        run(root, Path(output))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_refusals(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.txt").write_text("mine")
    with pytest.raises(BundleError) as caught:
        run(root, output)
    wanted = f"{output}: this is not an engine bundle, so it is left alone. Set engine.output to another folder"
    assert str(caught.value) == wanted
    assert (output / "thesis.txt").read_text() == "mine"
    with pytest.raises(PlanError) as refused:
        run(root, tmp_path / "other", *B200, "target.gpu=h100", "target.weights=nvfp4")
    wanted = "target: no MoE backend runs NVFP4 gpt-oss on h100 (SM90). Set target.weights=mxfp4"
    assert str(refused.value) == wanted
    assert not (tmp_path / "other").exists()


def test_two_builds_of_one_folder(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"

    def build_again(done: int, total: int) -> None:
        with pytest.raises(BundleError, match="another build is at work there"):
            run(root, output)

    assert run(root, output, progress=build_again).made

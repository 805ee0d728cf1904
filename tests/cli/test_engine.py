from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from toolkit.engine.bundle import Bundle

Run = Callable[..., Result]
RECIPE = "tiny-gpt-oss/cpu"


def test_build_then_nothing_to_do(trtkit: Run, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = trtkit("engine", RECIPE, "--set", f"engine.output={output}")
    assert (first.exit_code, first.stdout) == (0, f"{output}: built and verified, tensors: 213 keep\n")
    second = trtkit("engine", RECIPE, "--set", f"engine.output={output}")
    assert (second.exit_code, second.stdout) == (0, f"{output}: nothing changed since it was built; nothing to do\n")
    document = json.loads(trtkit("engine", RECIPE, "--set", f"engine.output={output}", "--json").stdout)
    identity = Bundle.open(output).manifest["identity"]
    assert document == {
        "output": str(output),
        "made": False,
        "resumed_shards": 0,
        "verified": {"keep": 213},
        "identity": identity,
    }


def test_dry_run_of_the_120b_recipe_writes_nothing(trtkit: Run, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = trtkit("engine", "gpt-oss-120b/b200", "--dry-run", "--set", f"engine.output={output}")
    assert result.exit_code == 0
    assert result.output.endswith(f"  would go to {output}\n")
    assert list(tmp_path.iterdir()) == []


def damage_truncate(folder: Path) -> str:
    shard = folder / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    return "model-00002-of-00003.safetensors"


def damage_remove_shard(folder: Path) -> str:
    (folder / "model-00003-of-00003.safetensors").unlink()
    return "model-00003-of-00003.safetensors"


def damage_index(folder: Path) -> str:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.ghost.weight"] = "model-00001-of-00003.safetensors"
    path.write_text(json.dumps(index))
    return "model.ghost.weight"


def damage_config(folder: Path) -> str:
    (folder / "config.json").write_text("{")
    return "config.json"


def damage_no_config(folder: Path) -> str:
    (folder / "config.json").unlink()
    return "config.json is missing"


@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_remove_shard, damage_index, damage_config, damage_no_config]
)
def test_a_damaged_checkpoint_is_one_line_and_no_bundle(
    trtkit: Run, sample: Path, tmp_path: Path, damage: Callable[[Path], str]
) -> None:
    source = tmp_path / "source"
    shutil.copytree(sample, source)
    named = damage(source)
    output = tmp_path / "out"
    overrides = ("--set", f"checkpoint.path={source}", "--set", f"engine.output={output}")
    result = trtkit("engine", RECIPE, *overrides)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert named in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_missing_folder_says_what_to_do(trtkit: Run, tmp_path: Path) -> None:
    result = trtkit("engine", RECIPE, "--set", f"checkpoint.path={tmp_path / 'none'}")
    hint = "Set checkpoint.path to the checkpoint's folder"
    assert (result.exit_code, result.stderr) == (1, f"error: {tmp_path / 'none'}: no such folder. {hint}\n")

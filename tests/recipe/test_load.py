from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit import recipe
from toolkit.errors import RecipeError

MINIMAL = """\
name: tiny
checkpoint:
  path: weights
target:
  runtime: cpu
engine:
  output: out
serve:
  repository: repo
bench:
  output: results
"""


def write(folder: Path, text: str = MINIMAL) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def message(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe.load(path, overrides)
    return str(caught.value)


def test_defaults_and_paths(tmp_path: Path) -> None:
    loaded = recipe.load(write(tmp_path))
    assert loaded.checkpoint.path == tmp_path / "weights"
    assert loaded.engine.output == Path("out")
    assert loaded.target.parallel.model_dump() == {"tp": 1, "pp": 1, "ep": 1, "attention_dp": False}


def test_it_is_frozen(tmp_path: Path) -> None:
    loaded = recipe.load(write(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        loaded.name = "other"  # type: ignore[misc]


def test_overrides_replace_values_and_keep_their_text(tmp_path: Path) -> None:
    loaded = recipe.load(
        write(tmp_path),
        [
            "target.runtime=tensorrt-llm",
            "target.release=1.10",
            "target.gpu=b200",
            "bench.isl=[8, 16]",
            "engine.output=/elsewhere",
            "checkpoint.path=here",
        ],
    )
    assert loaded.target.release == "1.10"
    assert loaded.bench.isl == (8, 16)
    assert loaded.engine.output == Path("/elsewhere")
    assert loaded.checkpoint.path == Path("here"), "an override counts from the current folder"


def test_a_new_source_replaces_the_old_one(tmp_path: Path) -> None:
    section = recipe.load(write(tmp_path), ["checkpoint.repo=a/b", "checkpoint.revision=main"]).checkpoint
    assert (section.path, section.repo, section.revision) == (None, "a/b", "main")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  output: out", "  outputt: out", "{path}:7: unknown key 'engine.outputt'. Did you mean 'output'?"),
        (
            "  runtime: cpu",
            "  runtime: gpu",
            "{path}:5: target.runtime: input should be 'cpu' or 'tensorrt-llm', not 'gpu'",
        ),
        (
            "  runtime: cpu",
            "  runtime: tensorrt-llm",
            "{path}:4: target: runtime tensorrt-llm needs target.release and target.gpu",
        ),
        ("name: tiny\n", "", "{path}: missing key 'name'. Type: trtkit recipes show tiny-gpt-oss/cpu"),
        (
            "  path: weights",
            "  revision: x",
            "{path}:2: checkpoint: give exactly one of checkpoint.path and checkpoint.repo",
        ),
        (
            "  output: results",
            "  output: results\n  isl: []",
            "{path}:12: bench.isl: tuple should have at least 1 item",
        ),
        ("name: tiny", "name: tiny\nname: twice", "{path}:2: 'name' stands twice. Keep one"),
        ("name: tiny", "name: [", "{path}:3: not YAML: expected ',' or ']', but got ':'"),
    ],
)
def test_bad_recipes_say_what_where_and_what_next(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = write(tmp_path, MINIMAL.replace(old, new, 1))
    assert message(path).startswith(expected.format(path=path))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("engine", "--set engine: an override is key=value. For example: --set target.gpu=b200"),
        (
            "engine.max_batch=4",
            "--set engine.max_batch=4: unknown key 'engine.max_batch'. Did you mean 'max_batch_size'?",
        ),
        ("name.x=1", "--set name.x=1: 'name' is a value, not a section"),
        (
            "engine.max_seq_len=1",
            "--set engine.max_seq_len=1: engine.max_seq_len: input should be greater than or equal to 2, not '1'",
        ),
        ("target.parallel.ep=3", "--set target.parallel.ep=3: target.parallel: ep 3 does not divide tp 1"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, expected: str) -> None:
    assert message(write(tmp_path), override) == expected


def test_missing_and_binary_files(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    assert message(missing) == f"{missing}: cannot read it: No such file or directory. Type: trtkit recipes ls"
    binary = tmp_path / "recipe.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert message(binary) == f"{binary}: cannot read it: not a text file. Type: trtkit recipes ls"


def test_the_resolved_recipe_loads_as_itself_from_any_folder(tmp_path: Path) -> None:
    loaded = recipe.load(write(tmp_path), ["target.release=1.10", "engine.output=/out"]).absolute()
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert recipe.load(write(other, loaded.to_yaml())) == loaded


def test_shipped_recipes_are_valid_and_open_with_needs_launch_and_override(root: Path) -> None:
    paths = sorted((root / "recipes").glob("*/*.yaml"))
    assert [str(path.relative_to(root / "recipes")) for path in paths] == [
        "gpt-oss-120b/b200.yaml",
        "tiny-gpt-oss/cpu.yaml",
    ]
    for path in paths:
        recipe.load(path)
        comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert [line.split(":")[0] for line in comment[2:]] == ["# Needs", "# Launch", "# Override"]


def test_the_committed_schema_is_the_generated_one(root: Path) -> None:
    assert (root / "recipes" / "schema.json").read_text() == recipe.schema_text()
    assert json.loads(recipe.schema_text())["additionalProperties"] is False

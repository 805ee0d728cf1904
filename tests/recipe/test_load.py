from __future__ import annotations

import json
import os
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


def test_a_new_source_replaces_the_old_one_with_its_revision_and_tokenizer(tmp_path: Path) -> None:
    old = MINIMAL.replace("  path: weights", "  repo: old/one\n  revision: v1\n  tokenizer: words")
    path = write(tmp_path, old)

    def source(*overrides: str) -> dict[str, str]:
        return recipe.load(path, overrides).checkpoint.model_dump(mode="json", exclude_none=True)

    assert source() == {"repo": "old/one", "revision": "v1", "tokenizer": str(tmp_path / "words")}
    assert source("checkpoint.repo=a/b") == {"repo": "a/b"}
    assert source("checkpoint.revision=v2", "checkpoint.repo=a/b") == {"repo": "a/b", "revision": "v2"}
    assert source("checkpoint.tokenizer=mine", "checkpoint.path=x") == {"path": "x", "tokenizer": "mine"}
    assert source("checkpoint.path=x", "checkpoint.repo=a/b") == {"repo": "a/b"}, "the last one counts"
    assert source("checkpoint.revision=v2")["tokenizer"] == str(tmp_path / "words")


def test_paths_may_start_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    path = write(tmp_path, MINIMAL.replace("weights", "~/weights").replace(": out", ": ~/out"))
    loaded = recipe.load(path, ["bench.prompts=~/text"])
    assert (loaded.checkpoint.path, loaded.engine.output, loaded.bench.prompts) == (
        Path("/home/me/weights"),
        Path("/home/me/out"),
        Path("/home/me/text"),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('"a\\0b"', "a path cannot hold a NUL character"),
        ("~nouser/x", "no home folder is known for ~nouser"),
        ("[a]", "a path is text"),
    ],
)
@pytest.mark.parametrize("key", ["engine.output", "checkpoint.path", "bench.prompts"])
def test_bad_paths_are_refused_in_the_file_and_on_the_command_line(
    tmp_path: Path, key: str, text: str, reason: str
) -> None:
    section, name = key.split(".")
    lines = [line for line in MINIMAL.splitlines(keepends=True) if not line.startswith(f"  {name}:")]
    if name == "output":  # bench has one, too
        lines.append("  output: results\n")
    lines.insert(lines.index(f"{section}:\n") + 1, f"  {name}: {text}\n")
    bad = tmp_path / "bad"
    bad.mkdir()
    path = write(bad, "".join(lines))
    line = lines.index(f"{section}:\n") + 2
    assert message(path).startswith(f"{path}:{line}: {key}: {reason}")
    override = f"{section}.{name}={text}"
    assert message(write(tmp_path), override).startswith(f"--set {override}: {key}: {reason}")


@pytest.mark.parametrize(
    "override", ["target.backend=tensorrt", "target.weights=mxfp4", "target.parallel={tp: 2}", "engine.profile=latency"]
)
def test_the_cpu_runtime_refuses_what_only_tensorrt_llm_has(tmp_path: Path, override: str) -> None:
    key = override.partition("=")[0]
    path = write(tmp_path)
    hint = f"{path}: {key} is for runtime tensorrt-llm. Leave it out, or set target.runtime"
    assert message(path, override) == hint


def test_a_recipe_is_read_as_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ascii")
    path = tmp_path / "recipe.yaml"
    path.write_bytes(("# grün\n" + MINIMAL.replace("weights", "gewichte-ü")).encode())
    assert recipe.load(path).checkpoint.path == tmp_path / "gewichte-ü"


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
        (
            "  output: out",
            '  output: ""',
            "{path}:7: engine.output: give a path; this is empty",
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
        ("name: tiny", "\nname: a\x07", "{path}:2: not YAML: special characters are not allowed"),
        ("name: tiny", "name: " + "[" * 50_000, "{path}:1: nested more than 16 deep"),
        ("name: tiny", "name: " + "{a: " * 50_000, "{path}:1: nested more than 16 deep"),
        (
            "name: tiny",
            "name: !!str tiny",
            "{path}:1: tags such as !!str are not allowed in a recipe. Quote what is text",
        ),
        ("name: tiny", "? [a]\n: tiny", "{path}:1: a key is one word. Write key: value"),
        ("name: tiny", "name: &n tiny\nx: [*n, *n]", "{path}:2: aliases are not allowed in a recipe. Write it out"),
        (MINIMAL, "[]", "{path}: a recipe is a mapping of sections. Type: trtkit recipes show tiny-gpt-oss/cpu"),
        (MINIMAL, "", "{path}: a recipe is a mapping of sections. Type: trtkit recipes show tiny-gpt-oss/cpu"),
        (
            "  output: results",
            "  output: results\n  isl: [8, 0]",
            "{path}:12: bench.isl.1: input should be greater than or equal to 1, not '0'",
        ),
        (
            "  repository: repo",
            "  repository: repo\n  model_name: ..",
            "{path}:10: serve.model_name: string should match pattern",
        ),
        ("  path: weights", "  repo: ../up", "{path}:3: checkpoint.repo: string should match pattern"),
        ("  path: weights", "  repo: a/b\n  revision: ../x", "{path}:4: checkpoint.revision: string should match"),
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
        ("engine.output=", "--set engine.output=: engine.output: give a path; this is empty"),
        ("name.x=1", "--set name.x=1: 'name' is a value, not a section. Type: --set name=VALUE"),
        (
            "checkpoint.path=",
            "--set checkpoint.path=: checkpoint: give exactly one of checkpoint.path and checkpoint.repo",
        ),
        (
            "target.runtime=tensorrt-llm",
            "--set target.runtime=tensorrt-llm: target: runtime tensorrt-llm needs target.release and target.gpu, "
            "for example 1.2.1 and b200",
        ),
        (
            "engine.max_seq_len=1",
            "--set engine.max_seq_len=1: engine.max_seq_len: input should be greater than or equal to 2, not '1'",
        ),
        (
            "target.parallel.ep=3",
            "--set target.parallel.ep=3: target.parallel: ep 3 does not divide tp 1. Choose ep among",
        ),
        (
            "bench.osl=" + "[" * 1000,
            "--set bench.osl=" + "[" * 44 + "...: nested more than 16 deep. No key of a recipe is",
        ),
        ("checkpoint.repo=a", "--set checkpoint.repo=a: checkpoint.repo: string should match pattern"),
        ("checkpoint.repo=a/b/c", "--set checkpoint.repo=a/b/c: checkpoint.repo: string should match pattern"),
        ("checkpoint.repo=a/b..c", "--set checkpoint.repo=a/b..c: checkpoint.repo: string should match pattern"),
        ("serve.model_name=.x", "--set serve.model_name=.x: serve.model_name: string should match pattern"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, expected: str) -> None:
    assert message(write(tmp_path), override).startswith(expected)


def test_what_the_file_lacks_is_not_laid_to_an_override(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL.replace("  output: out", "  threads: 1"))
    assert message(path, "engine.threads=2").startswith(f"{path}:6: missing key 'engine.output'")
    assert message(path, "engine={threads: 2}").startswith("--set engine={threads: 2}: missing key 'engine.output'")


def test_a_bomb_of_aliases_is_refused_before_it_grows(tmp_path: Path) -> None:
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(40))
    path = write(tmp_path, levels)
    assert message(path) == f"{path}:2: aliases are not allowed in a recipe. Write it out"


def test_missing_and_binary_files(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    assert message(missing) == f"{missing}: cannot read it: No such file or directory. Type: trtkit recipes ls"
    binary = tmp_path / "recipe.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert message(binary) == f"{binary}: cannot read it: not a text file. Type: trtkit recipes ls"


def test_only_a_small_regular_file_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        assert message(path) == f"{path}: cannot read it: not a regular file. Type: trtkit recipes ls"
    big = write(tmp_path, "#" * (1 << 20) + "\n")
    assert message(big) == f"{big}: cannot read it: more than 1 MiB is no recipe. Type: trtkit recipes ls"
    long = tmp_path / ("n" * 300)
    assert message(long) == f"{long}: cannot read it: File name too long. Type: trtkit recipes ls"
    nul = Path("a\0b")
    assert message(nul) == f"{nul}: cannot read it: a path cannot hold a NUL character. Type: trtkit recipes ls"


def test_the_resolved_recipe_loads_as_itself_from_any_folder(tmp_path: Path) -> None:
    loaded = recipe.load(write(tmp_path), ["target.release=1.10", "engine.output=/out"]).absolute()
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert recipe.load(write(other, loaded.to_yaml())) == loaded


TENSORRT = ["target={runtime: tensorrt-llm, release: 1.10, gpu: b200}"]


def test_llm_arguments_have_types_in_the_file_and_on_the_command_line(tmp_path: Path) -> None:
    """All else stays text until the schema reads it."""
    section = "  output: out\n  llm_args:\n    a: 1\n    b: {c: yes, d: '1234567', e: [1e-3, null]}"
    path = write(tmp_path, MINIMAL.replace("  output: out", section))
    assert recipe.load(path, TENSORRT).engine.llm_args == {
        "a": 1,
        "b": {"c": "yes", "d": "1234567", "e": [0.001, None]},
    }
    overrides = ["engine.llm_args.a='1'", "engine.llm_args.b.d=010", "engine.llm_args.b.e=", "name=1e3"]
    loaded = recipe.load(path, [*TENSORRT, *overrides])
    assert loaded.engine.llm_args == {"a": "1", "b": {"c": "yes", "d": 10, "e": None}}
    assert (loaded.name, loaded.target.release) == ("1e3", "1.10")
    assert recipe.load(path, [*TENSORRT, "engine={output: o, llm_args: {a: true}}"]).engine.llm_args == {"a": True}


@pytest.mark.parametrize("number", ["9" * 5000, ".inf", "1e999"])
def test_a_number_that_no_argument_has_is_refused(tmp_path: Path, number: str) -> None:
    path = write(tmp_path, MINIMAL.replace("  output: out", f"  output: out\n  llm_args:\n    a: {number}"))
    assert message(path).startswith(f"{path}:9: a number here is finite")
    assert message(write(tmp_path), f"engine.llm_args.a={number}").startswith("--set engine.llm_args.a=")
    assert recipe.load(write(tmp_path), [*TENSORRT, f"engine.llm_args.a='{number}'"]).engine.llm_args == {"a": number}


def test_the_resolved_recipe_leaves_to_the_profile_what_the_profile_decides(tmp_path: Path) -> None:
    path = write(tmp_path)
    overrides = [*TENSORRT, "engine.max_num_tokens=512", "engine.llm_args={a: '1e3', b: null, c: 'yes'}"]
    plain = recipe.load(path, overrides).absolute()
    assert plain.engine.model_fields_set >= recipe.PROFILED
    profiled = recipe.load(path, [*overrides, "engine.profile=latency"]).absolute()
    for loaded in (plain, profiled):
        again = recipe.load(write(tmp_path, loaded.to_yaml()))
        assert again == loaded
        assert again.engine.model_fields_set == loaded.engine.model_fields_set
        assert again.engine.llm_args == {"a": "1e3", "b": None, "c": "yes"}
    assert profiled.engine.model_fields_set & recipe.PROFILED == {"max_num_tokens"}
    assert profiled.engine.max_batch_size == 8, "the default, where there is no profile"


def test_shipped_recipes_are_valid_and_open_with_needs_launch_and_override(root: Path) -> None:
    paths = sorted((root / "recipes").glob("*/*.yaml"))
    models = {"gpt-oss-120b", "gpt-oss-20b", "llama-3.1-8b", "qwen3-30b-a3b", "tiny-gpt-oss"}
    assert {path.parent.name for path in paths} == models
    for path in paths:
        assert recipe.load(path).bench.output == Path("results/local"), "make clean removes build/ and keeps records"
        comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
        keys = [line.split(":")[0] for line in comment[1:] if ":" in line]
        assert keys[:3] == ["# Needs", "# Launch", "# Override"]
        assert keys[3:] in ([], ["# Doubt"], ["# Tokenizer"], ["# Tokenizer", "# Doubt"])
        assert ("# Tokenizer" in keys) == ("Firworks/gpt-oss-120b-nvfp4" in path.read_text())


def test_there_is_a_recipe_of_both_gpt_oss_models_for_every_gpu(root: Path) -> None:
    gpus = {"b200", "gb200", "b300", "gb300", "rtx-5090", "rtx-pro-6000", "dgx-spark", "h100", "h200"}
    for model in ("gpt-oss-120b", "gpt-oss-20b"):
        recipes = [recipe.load(path) for path in (root / "recipes" / model).glob("*.yaml")]
        assert {loaded.target.gpu for loaded in recipes} == gpus
        for gpu in ("b200", "gb200", "b300", "gb300", "h100", "h200"):
            profiles = {loaded.engine.profile for loaded in recipes if loaded.target.gpu == gpu}
            assert profiles >= {"latency", "throughput"}


def test_the_committed_schema_is_the_generated_one(root: Path) -> None:
    assert (root / "recipes" / "schema.json").read_text() == recipe.schema_text()
    assert json.loads(recipe.schema_text())["additionalProperties"] is False

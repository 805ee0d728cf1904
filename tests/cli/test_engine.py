from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from tests.checkpoint.hub_stand_in import HubStandIn, serve
from toolkit.checkpoint.header import TensorInfo
from toolkit.checkpoint.remote import FIRST_RANGE
from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.bundle import Bundle

Run = Callable[..., Result]
RECIPE = "tiny-gpt-oss/cpu"
B200 = ("--set", "target.runtime=tensorrt-llm", "--set", "target.release=1.2.1", "--set", "target.gpu=b200")


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
        "reused_shards": 0,
        "verified": {"keep": 213},
        "fidelity": {},
        "engine": None,
        "identity": identity,
    }


def test_dry_run_of_the_120b_recipe_writes_nothing(trtkit: Run, tmp_path: Path) -> None:
    output = tmp_path / "out"
    overrides = ("--set", f"engine.output={output}")
    result = trtkit("engine", "gpt-oss-120b/b200", "--dry-run", *overrides)
    assert (result.exit_code, result.stderr) == (0, "")
    planned = trtkit("plan", "gpt-oss-120b/b200", *overrides).output
    assert result.output.startswith(planned)
    weights, where = result.output.removeprefix(planned).splitlines()
    assert re.match(r"  weights    not here: about 67,458,445,632 bytes from hub:Firworks/gpt-oss-120b-nvfp4@", weights)
    assert where == f"  would go to {output}"
    assert list(tmp_path.iterdir()) == []


def test_without_the_weights_it_plans_and_stops(trtkit: Run, tmp_path: Path) -> None:
    """As ``make engine`` runs it: nothing large is fetched unasked."""
    output = tmp_path / "out"
    overrides = ("--set", f"engine.output={output}")
    result = trtkit("engine", "gpt-oss-120b/b200", *overrides)
    assert result.exit_code == 1
    assert result.stderr == "error: the weights are not here. Add --fetch to download them first\n"
    assert result.stdout == trtkit("engine", "gpt-oss-120b/b200", "--dry-run", *overrides).stdout
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sample: Path) -> Iterator[HubStandIn]:
    with serve(monkeypatch, tmp_path / "cache") as stand_in:
        stand_in.add("owner/name", sample)
        yield stand_in


def on_hub(output: Path) -> tuple[str, ...]:
    return (RECIPE, "--set", "checkpoint.repo=owner/name", "--set", f"engine.output={output}", *B200)


def test_what_would_be_fetched_is_known_to_the_byte(trtkit: Run, hub: HubStandIn, sample: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    fetched = [path for path in sample.iterdir() if path.suffix in (".json", ".safetensors", ".jinja")]
    nbytes = sum(path.stat().st_size for path in fetched)
    result = trtkit("engine", *on_hub(output), "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.endswith(
        f"  weights    not here: {nbytes:,} bytes in {len(fetched)} file(s) from hub:owner/name\n"
        f"  would go to {output}\n"
    )
    document = json.loads(trtkit("engine", *on_hub(output), "--dry-run", "--json").stdout)
    assert document["output"] == str(output)
    assert document["download"] == {"where": "hub:owner/name", "files": len(fetched), "nbytes": nbytes, "exact": True}
    assert document["plan"]["verdict"] == "after-change"
    assert len(document["digest"]) == 64
    stopped = trtkit("engine", *on_hub(output), "--json")
    assert (stopped.exit_code, json.loads(stopped.stdout)) == (1, document)
    assert list(tmp_path.iterdir()) == [], "neither a bundle nor a cache"
    assert {hub.sent[path.name] for path in fetched if path.suffix == ".safetensors"} == {3 * FIRST_RANGE}


def test_fetch_downloads_and_builds(trtkit: Run, hub: HubStandIn, sample: Path, tmp_path: Path) -> None:
    result = trtkit("engine", *on_hub(tmp_path / "out"), "--fetch")
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'out'}: built and verified, tensors: 24 dequantize, 72 drop, 117 keep\n"
    manifest = Bundle.open(tmp_path / "out").manifest
    assert (manifest["source"]["repo"], manifest["verified"]) == (
        "owner/name",
        {"dequantize": 24, "drop": 72, "keep": 117},
    )
    shards = {path.name: path.stat().st_size for path in sample.glob("*.safetensors")}
    assert {name: hub.sent[name] - FIRST_RANGE for name in shards} == shards, "the headers first, for the plan"
    again = trtkit("engine", *on_hub(tmp_path / "out"))
    assert (again.exit_code, again.stdout) == (
        0,
        f"{tmp_path / 'out'}: nothing changed since it was built; nothing to do\n",
    )


def test_fetch_of_a_refused_target_builds_nothing(trtkit: Run, hub: HubStandIn, tmp_path: Path) -> None:
    refused = ("--set", "target.gpu=h100", "--set", "target.weights=nvfp4")
    result = trtkit("engine", *on_hub(tmp_path / "out"), *refused, "--fetch")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "error: target: no MoE backend runs NVFP4 gpt-oss on h100 (SM90). Set target.weights=mxfp4\n"
    )
    assert list(tmp_path.iterdir()) == [], "nothing is downloaded for it either"


def test_a_transcode_says_what_it_lost(trtkit: Run, tmp_path: Path) -> None:
    output = tmp_path / "out"
    argv = ("engine", RECIPE, "--set", f"engine.output={output}", *B200, "--set", "target.gpu=h100")
    result = trtkit(*argv)
    assert (result.exit_code, result.stderr) == (0, "")
    total = Bundle.open(output).manifest["fidelity"]["totals"]["transcode"]
    first, second = result.stdout.splitlines()
    assert first == f"{output}: built and verified, tensors: 24 dequantize, 96 drop, 69 keep, 24 transcode"
    assert second == (
        f"  NVFP4 to MXFP4: {total['exact_blocks']:,} of {total['blocks']:,} blocks exact "
        f"({100 * total['exact_blocks'] / total['blocks']:.2f} %), relative RMS {total['relative_rms']:.5f}"
    )
    assert json.loads(trtkit(*argv, "--json").stdout)["fidelity"] == {"transcode": total}


def test_check_reads_a_bundle_that_has_nothing_else(trtkit: Run, sample: Path, tmp_path: Path) -> None:
    source, output, moved = tmp_path / "source", tmp_path / "out", tmp_path / "moved"
    shutil.copytree(sample, source)
    assert (
        trtkit("engine", RECIPE, "--set", f"checkpoint.path={source}", "--set", f"engine.output={output}").exit_code
        == 0
    )
    shutil.rmtree(source)
    output.rename(moved)
    files = Bundle.open(moved).manifest["files"]
    nbytes = sum(path.stat().st_size for path in moved.rglob("*") if path.is_file() and path.name != "engine.json")
    result = trtkit("engine", "--check", str(moved))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        f"{moved}: {len(files)} files, {nbytes:,} bytes: each has the SHA-256 that the build recorded, none is missing "
        "or extra. The source was not read\n"
    )
    document = json.loads(trtkit("engine", "--check", str(moved), "--json").stdout)
    manifest = Bundle.open(moved).manifest
    assert document == {
        "bundle": str(moved),
        "sound": True,
        "files": len(files),
        "nbytes": nbytes,
        **{key: manifest[key] for key in ("created", "identity", "verified")},
    }


def edit_shard(folder: Path) -> str:
    path = folder / "checkpoint" / "model-00002-of-00003.safetensors"
    overwrite(path, path.stat().st_size - 3, b"\x77")
    return "checkpoint/model-00002-of-00003.safetensors is not what was built"


def edit_config(folder: Path) -> str:
    path = folder / "checkpoint" / "config.json"
    path.write_text(path.read_text().replace("2048", "2049").replace("256", "257"))
    return "checkpoint/config.json is not what was built"


def edit_manifest(folder: Path) -> str:
    path = folder / "engine.json"
    path.write_text(path.read_text().replace('"verdict": "loads"', '"verdict": "after-change"'))
    return "engine.json is not what was built"


def add_file(folder: Path) -> str:
    (folder / "checkpoint" / "notes.txt").write_text("mine")
    return "checkpoint/notes.txt was not built"


@pytest.mark.parametrize("edit", [edit_shard, edit_config, edit_manifest, add_file])
def test_check_names_what_was_edited_by_hand(trtkit: Run, tmp_path: Path, edit: Callable[[Path], str]) -> None:
    output = tmp_path / "out"
    assert trtkit("engine", RECIPE, "--set", f"engine.output={output}").exit_code == 0
    what = edit(output)
    result = trtkit("engine", "--check", str(output))
    hint = f"Delete {output} and type: trtkit engine RECIPE"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"error: {output}: {what}. {hint}\n")
    again = trtkit("engine", RECIPE, "--set", f"engine.output={output}")
    if edit is add_file:
        assert again.stdout == f"{output}: nothing changed since it was built; nothing to do\n", "it is the user's"
        return
    assert again.exit_code == 0
    assert again.stdout.startswith(f"{output}: built and verified")
    assert trtkit("engine", "--check", str(output)).exit_code == 0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "Missing argument 'RECIPE'"),
        ((RECIPE, "--check", "out"), "--check takes a bundle's folder and neither RECIPE nor"),
        (("--check", "out", "--fetch"), "--check takes a bundle's folder and neither RECIPE nor"),
    ],
)
def test_arguments_that_do_not_fit(trtkit: Run, argv: tuple[str, ...], said: str) -> None:
    result = trtkit("engine", *argv)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


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


def damage_nan_scale(folder: Path) -> str:
    name = "model.layers.3.mlp.experts.down_proj_weight_scale"
    info = tensor(folder, name)
    overwrite(folder / info.shard, info.begin + 7, b"\xff")
    return f"{info.shard}, tensor '{name}': 1 block scale(s) are NaN, the first is 0xff at byte {info.begin + 7}"


def damage_zero_global_scale(folder: Path) -> str:
    name = "model.layers.0.self_attn.q_proj.weight_scale_2"
    info = tensor(folder, name)
    overwrite(folder / info.shard, info.begin, bytes(4))
    return f"tensor '{name}': is 0.0, but must be finite and above 0. Quantise the model again with calibration data"


def tensor(folder: Path, name: str) -> TensorInfo:
    with Checkpoint.open(folder) as source:
        return source.tensors[name]


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncate,
        damage_remove_shard,
        damage_index,
        damage_config,
        damage_no_config,
        damage_nan_scale,
        damage_zero_global_scale,
    ],
)
@pytest.mark.parametrize("target", [(), B200], ids=["cpu", "b200"])
def test_a_damaged_checkpoint_is_one_line_and_no_bundle(
    trtkit: Run, sample: Path, tmp_path: Path, damage: Callable[[Path], str], target: tuple[str, ...]
) -> None:
    source = tmp_path / "source"
    shutil.copytree(sample, source)
    named = damage(source)
    output = tmp_path / "out"
    overrides = ("--set", f"checkpoint.path={source}", "--set", f"engine.output={output}")
    result = trtkit("engine", RECIPE, *overrides, *target)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert named in result.stderr
    assert not output.exists()


def test_a_missing_folder_says_what_to_do(trtkit: Run, tmp_path: Path) -> None:
    result = trtkit("engine", RECIPE, "--set", f"checkpoint.path={tmp_path / 'none'}")
    hint = "Name the checkpoint's folder (in a recipe: checkpoint.path)"
    assert (result.exit_code, result.stderr) == (1, f"error: {tmp_path / 'none'}: no such folder. {hint}\n")

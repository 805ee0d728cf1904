"""The census of ModelOpt's own exports and of small made-up folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import example_tensors, write_checkpoint, write_json
from toolkit.checkpoint.census import Census, take_census
from toolkit.checkpoint.quant import QuantSummary, quant_summary
from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import CheckpointError

CORRECT = "Correct it, or take this file from the export again"


def census_of(folder: Path) -> Census:
    with Checkpoint.open(folder) as checkpoint:
        return take_census(checkpoint)


def quant_of(tmp_path: Path, **files: dict[str, Any]) -> QuantSummary | None:
    tensors = {"model.safetensors": {"w": ("U8", np.zeros(1, np.uint8))}}
    return census_of(write_checkpoint(tmp_path, tensors, **files)).quant


def test_whole_census(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", {"model.safetensors": example_tensors()})
    write_json(folder / "tokenizer.json", {})
    (folder / "original").mkdir()
    with Checkpoint.open(folder) as checkpoint:
        census = take_census(checkpoint)
        assert census == Census(
            architecture="GptOssForCausalLM",
            config={"architectures": ["GptOssForCausalLM"]},
            quant_config=None,
            quant=None,
            tensors=checkpoint.tensors,
            shards={"model.safetensors": (folder / "model.safetensors").stat().st_size},
            files=("config.json", "model.safetensors", "tokenizer.json"),
            where=str(folder),
        )


def test_the_recipe_of_the_published_checkpoint(shared_fixtures: Path) -> None:
    census = census_of(shared_fixtures / "tiny-gpt-oss-nvfp4-sharded-modelopt-0.37")
    assert census.quant == QuantSummary("NVFP4", 16, ("lm_head",), None, "modelopt", "0.37.0")
    assert (len(census.tensors), sum(tensor.nbytes for tensor in census.tensors.values())) == (73, 248_832)
    assert list(census.shards.values()) == [81456, 63928, 45296, 65656]


def test_mlp_only(shared_fixtures: Path) -> None:
    census = census_of(shared_fixtures / "tiny-gpt-oss-nvfp4-mlponly-modelopt-0.37")
    assert census.quant is not None
    assert census.quant.exclude_modules == ("model.layers.0.self_attn*", "model.layers.1.self_attn*", "lm_head")


@pytest.mark.parametrize("name", ["gpt-oss-nvfp4", "gpt-oss-nvfp4-mlponly", "llama-nvfp4"])
def test_config_json_alone_says_the_same(shared_fixtures: Path, name: str) -> None:
    census = census_of(shared_fixtures / f"tiny-{name}-modelopt-0.37")
    assert census.quant is not None
    assert quant_summary(census.config, None, census.where) == census.quant


def test_unquantised(shared_fixtures: Path) -> None:
    census = census_of(shared_fixtures / "tiny-llama-bf16")
    assert (census.architecture, census.quant) == ("LlamaForCausalLM", None)


@pytest.mark.parametrize(
    ("scheme", "algo"),
    [({"dynamic": False, "num_bits": 8, "type": "float"}, "FP8"), ("NVFP4", "NVFP4"), (None, None)],
)
def test_kv_cache_in_config_json(tmp_path: Path, scheme: object, algo: str | None) -> None:
    inline = {"quant_algo": "NVFP4", "quant_method": "modelopt", "ignore": ["lm_head"], "kv_cache_scheme": scheme}
    quant = quant_of(tmp_path, config={"architectures": ["A"], "quantization_config": inline})
    assert quant == QuantSummary("NVFP4", None, ("lm_head",), algo, None, None)


def test_openai_mxfp4(tmp_path: Path) -> None:
    inline = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    quant = quant_of(tmp_path, config={"architectures": ["A"], "quantization_config": inline})
    assert quant == QuantSummary("mxfp4", None, ("lm_head",), None, None, None)


def test_mixed_precision_has_no_list(tmp_path: Path) -> None:
    quantization = {"quant_algo": "MIXED_PRECISION", "kv_cache_quant_algo": "FP8", "quantized_layers": {}}
    quant = quant_of(tmp_path, quant_config={"producer": {"name": "modelopt"}, "quantization": quantization})
    assert quant == QuantSummary("MIXED_PRECISION", None, (), "FP8", "modelopt", None)


INLINE = {
    "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 16}, "targets": ["Linear"]}},
    "ignore": ["lm_head"],
    "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"},
    "quant_algo": "NVFP4",
    "quant_method": "modelopt",
}
LEGACY = {"quant_algo": "NVFP4", "group_size": 16, "exclude_modules": ["lm_head"], "kv_cache_quant_algo": "FP8"}


@pytest.mark.parametrize("document", [INLINE, LEGACY, {"quantization": LEGACY}], ids=["flat", "flat-0.x", "nested"])
def test_each_shape_of_the_quantisation_file(tmp_path: Path, document: dict[str, Any]) -> None:
    producer = {"name": "modelopt", "version": "1.0"}
    quant = quant_of(tmp_path, quant_config={"producer": producer, **document})
    assert quant == QuantSummary("NVFP4", 16, ("lm_head",), "FP8", "modelopt", "1.0")


@pytest.mark.parametrize("algo", [None, "none", "None"])
def test_a_kv_cache_that_is_not_quantised(tmp_path: Path, algo: str | None) -> None:
    said = {"quant_algo": "NVFP4", "kv_cache_quant_algo": algo}
    for document in (said, {"quantization": said}):
        assert quant_of(tmp_path, quant_config=document) == QuantSummary("NVFP4", None, (), None, None, None)


def test_a_malformed_flat_quantisation_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        quant_of(tmp_path, quant_config={"quant_method": "modelopt", "ignore": 3})
    assert str(caught.value) == f"{tmp_path / 'hf_quant_config.json'}: ignore is 3, not a list of names. {CORRECT}"


def test_a_file_beside_that_may_not_be_looked_at_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(tmp_path, {"model.safetensors": {"w": ("U8", np.zeros(1, np.uint8))}})
    (folder / "README.md").symlink_to("elsewhere/README.md")
    is_file = Path.is_file

    def no_permission_for_readme(path: Path) -> bool:
        if path.name == "README.md":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", no_permission_for_readme)
    assert census_of(folder).files == ("config.json", "model.safetensors")


@pytest.mark.parametrize("architectures", [None, [], ["A", "B"], "A", [1]])
def test_architecture_must_be_one_name(tmp_path: Path, architectures: object) -> None:
    folder = write_checkpoint(tmp_path, {"model.safetensors": {}}, config={"architectures": architectures})
    with pytest.raises(CheckpointError) as caught:
        census_of(folder)
    where = folder / "config.json"
    hint = 'Name the model class there as in "architectures": ["GptOssForCausalLM"]'
    assert str(caught.value) == f"{where}: architectures is {architectures!r}, not a list of one name. {hint}"


@pytest.mark.parametrize("value", [None, [1], "NVFP4"])
def test_a_quantisation_file_that_says_nothing(tmp_path: Path, value: object) -> None:
    with pytest.raises(CheckpointError) as caught:
        quant_of(tmp_path, quant_config={"quantization": value})
    where = tmp_path / "hf_quant_config.json"
    assert str(caught.value) == f"{where}: quantization is {value!r}, not an object. {CORRECT}"


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ({"group_size": "16"}, "group_size is '16', not a whole number"),
        ({"group_size": True}, "group_size is True, not a whole number"),
        ({"kv_cache_quant_algo": ["FP8"]}, "kv_cache_quant_algo is ['FP8'], not text"),
        ({"exclude_modules": "x" * 1000}, f"exclude_modules is '{'x' * 97}...{'x' * 98}', not a list of names"),
    ],
)
def test_a_malformed_quantisation_file(tmp_path: Path, part: dict[str, Any], what: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        quant_of(tmp_path, quant_config={"quantization": {"quant_algo": "NVFP4", **part}})
    assert str(caught.value) == f"{tmp_path / 'hf_quant_config.json'}: {what}. {CORRECT}"


@pytest.mark.parametrize("producer", [{"name": 1}, {"version": 0.37}])
def test_a_producer_that_is_not_text(tmp_path: Path, producer: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError) as caught:
        quant_of(tmp_path, quant_config={"producer": producer, "quantization": {}})
    ((key, value),) = producer.items()
    assert str(caught.value) == f"{tmp_path / 'hf_quant_config.json'}: {key} is {value}, not text. {CORRECT}"


@pytest.mark.parametrize(
    ("inline", "what"),
    [
        ("x", "quantization_config is 'x', not an object"),
        ([1], "quantization_config is [1], not an object"),
        ({"quant_algo": 4}, "quant_algo is 4, not text"),
        ({"quant_algo": "NVFP4", "ignore": "lm_head"}, "ignore is 'lm_head', not a list of names"),
        ({"quant_algo": "NVFP4", "ignore": [1]}, "ignore is [1], not a list of names"),
        ({"quant_algo": "NVFP4", "producer": "modelopt"}, "producer is 'modelopt', not an object"),
    ],
)
def test_a_malformed_quantisation_in_config_json(tmp_path: Path, inline: object, what: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        quant_of(tmp_path, config={"architectures": ["A"], "quantization_config": inline})
    assert str(caught.value) == f"{tmp_path / 'config.json'}: {what}. {CORRECT}"


def test_null_is_no_quantisation(tmp_path: Path) -> None:
    assert quant_of(tmp_path, config={"architectures": ["A"], "quantization_config": None}) is None

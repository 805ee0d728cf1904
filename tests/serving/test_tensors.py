from __future__ import annotations

from dataclasses import fields
from string import Template

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.resources import triton_repo_dir
from toolkit.serving.tensors import INPUTS, OUTPUTS, SAMPLING_INPUTS


def template() -> model_config_pb2.ModelConfig:
    text = (triton_repo_dir() / "tensorrt_llm" / "config.pbtxt").read_text()
    keys = ("model_name", "bundle", "identity", "engine_factory", "max_queue_size", "toolkit_path")
    return text_format.Parse(Template(text).substitute(dict.fromkeys(keys, "x")), model_config_pb2.ModelConfig())


def declared(tensors: object) -> dict[str, tuple[str, list[int]]]:
    names = {"STRING": "BYTES"}
    return {
        tensor.name: (
            names.get(kind := model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_"), kind),
            list(tensor.dims),
        )
        for tensor in tensors  # type: ignore[attr-defined]
    }


def test_template_declares_the_contract() -> None:
    config = template()
    assert declared(config.input) == {
        name: (spec.datatype, [-1 if spec.many else 1]) for spec in INPUTS for name in spec.names
    }
    assert all(tensor.optional for tensor in config.input)
    assert declared(config.output) == {output.name: (output.datatype, [-1] * output.rank) for output in OUTPUTS}


def test_what_the_server_must_not_have_to_guess_is_literal() -> None:
    config = template()
    assert (config.backend, config.max_batch_size, config.model_transaction_policy.decoupled) == ("python", 0, True)
    [group] = config.instance_group
    assert (group.kind, group.count) == (group.KIND_CPU, 1)


def test_every_sampling_parameter_has_an_input() -> None:
    assert [spec.key for spec in SAMPLING_INPUTS] == [field.name for field in fields(SamplingParams)]


def test_names_are_unique() -> None:
    names = [name for spec in INPUTS for name in spec.names]
    assert len(names) == len(set(names))

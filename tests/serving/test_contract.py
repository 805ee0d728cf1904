from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.serving.grpc_server import config, own_config
from toolkit.errors import ClientError, UnsupportedError
from toolkit.serving.contract import Tensor, contract_of, own

MODELS = Path(__file__).parents[1] / "fakes" / "triton_models"


def replica(name: str, model: str) -> Any:
    return config((MODELS / name / model / "config.pbtxt").read_text())


def test_ours_by_its_configuration_is_ours_by_heart() -> None:
    assert contract_of(own_config()) == own("tensorrt_llm")
    assert own("m").inputs["max_tokens"] == Tensor("sampling_param_max_tokens", "INT32")


def test_ours_with_more_than_this_version_knows() -> None:
    served = own_config(text_mode="cumulative", novelty="x")
    served.input.add(name="novelty", data_type=1, dims=[1])
    contract = contract_of(served)
    assert (contract.kind, contract.cumulative, contract.inputs) == ("trtkit", True, own("m").inputs)


def test_ours_with_less_is_asked_for_less() -> None:
    served = own_config()
    kept = [tensor for tensor in served.output if tensor.name != "num_output_tokens"]
    del served.output[:]
    served.output.extend(kept)
    assert contract_of(served).returns.keys() == own("m").returns.keys() - {"num_output_tokens"}


def test_llmapi() -> None:
    contract = contract_of(replica("llmapi", "tensorrt_llm"))
    assert (contract.kind, contract.batched, contract.cumulative, contract.streams) == ("llmapi", False, True, True)
    assert contract.returns == {
        "finish_reason": Tensor("return_finish_reason", "BOOL"),
        "stop_reason": Tensor("return_stop_reason", "BOOL"),
    }
    assert contract.inputs["stop"] == Tensor("sampling_param_stop", "BYTES")
    contract.refuse(("text_input", "temperature", "top_k", "top_p", "seed", "presence_penalty", "frequency_penalty"))


def test_llmapi_that_is_not_decoupled_does_not_stream() -> None:
    served = replica("llmapi", "tensorrt_llm")
    served.model_transaction_policy.decoupled = False
    assert not contract_of(served).streams


@pytest.mark.parametrize(("accumulate", "cumulative"), [("", False), ("${accumulate_tokens}", False), ("True", True)])
def test_ensemble_and_bls(accumulate: str, cumulative: bool) -> None:
    served = replica("ensemble", "ensemble")
    served.parameters["accumulate_tokens"].string_value = accumulate
    contract = contract_of(served)
    assert (contract.kind, contract.batched, contract.cumulative, contract.streams) == (
        "ensemble",
        True,
        cumulative,
        True,
    )
    assert contract.returns.keys() == {"num_input_tokens", "num_output_tokens"}
    assert contract.inputs["stop"] == Tensor("stop_words", "BYTES")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("input_ids", "model 'ensemble' takes no token ids as a prompt, only text. Leave it out"),
        ("ignore_eos", "model 'ensemble' takes no ignore_eos. Leave it out"),
        ("logprobs", "model 'ensemble' takes no logprobs. Leave it out"),
    ],
)
def test_what_a_model_does_not_take_is_named(key: str, said: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        contract_of(replica("ensemble", "ensemble")).refuse(("seed", key))
    assert str(caught.value) == said


def test_model_of_another_contract() -> None:
    vllm = config('name: "v" input { name: "text_input" data_type: TYPE_STRING } input { name: "stream" }')
    with pytest.raises(UnsupportedError) as caught:
        contract_of(vllm)
    assert str(caught.value) == (
        "model 'v' has neither trtkit's inputs nor those of NVIDIA's llmapi or ensemble model. "
        "Its inputs: text_input, stream"
    )


def test_input_that_is_required_and_unknown() -> None:
    served = replica("ensemble", "ensemble")
    served.input.add(name="adapter", data_type=13, dims=[1])
    with pytest.raises(UnsupportedError, match="model 'ensemble' requires the input 'adapter', which is unknown here"):
        contract_of(served)


def test_datatype_from_the_future() -> None:
    served = own_config()
    served.input[0].data_type = 99
    with pytest.raises(ClientError, match="unknown datatype 99"):
        contract_of(served)

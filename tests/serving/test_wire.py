from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from toolkit.engine.runtime.protocol import SamplingParams, TokenLogprob
from toolkit.errors import ClientError, UnsupportedError
from toolkit.serving import wire
from toolkit.serving.contract import RETURNS, Contract, Tensor, own
from toolkit.serving.inputs import parse
from toolkit.serving.wire import Chunk

DTYPES = {"BOOL": np.bool_, "INT32": np.int32, "UINT64": np.uint64, "FP32": np.float32}


def received(request: service_pb2.ModelInferRequest) -> dict[str, np.ndarray]:
    """The inputs as Triton hands them to the model."""
    arrays = {}
    for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        if tensor.datatype == "BYTES":
            items, rest = [], raw
            while rest:
                length = int.from_bytes(rest[:4], "little")
                items.append(rest[4 : 4 + length])
                rest = rest[4 + length :]
            array = np.array(items, np.object_)
        else:
            array = np.frombuffer(raw, DTYPES[tensor.datatype])
        assert list(array.shape) == list(tensor.shape)
        arrays[tensor.name] = array
    return arrays


def message(**outputs: tuple[str, list[int], bytes]) -> service_pb2.ModelStreamInferResponse:
    reply = service_pb2.ModelStreamInferResponse()
    for name, (datatype, shape, raw) in outputs.items():
        reply.infer_response.outputs.add(name=name, datatype=datatype, shape=shape)
        reply.infer_response.raw_output_contents.append(raw)
    return reply


def text(*values: str) -> tuple[str, list[int], bytes]:
    encoded = [value.encode() for value in values]
    return ("BYTES", [len(values)], b"".join(len(raw).to_bytes(4, "little") + raw for raw in encoded))


def ints(*values: int) -> tuple[str, list[int], bytes]:
    return ("INT32", [len(values)], np.array(values, np.int32).tobytes())


def test_what_is_sent_is_what_the_model_parses() -> None:
    sampling = SamplingParams(
        max_tokens=5,
        min_tokens=1,
        temperature=0.5,
        top_k=7,
        top_p=0.25,
        min_p=0.125,
        seed=2**63,
        repetition_penalty=1.25,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        stop_token_ids=(3, 4),
        ignore_eos=True,
        logprobs=1,
    )
    request = wire.encode("tensorrt_llm", "hé", sampling, stop=("é", "\n"), skip_special_tokens=False, request_id="r1")
    assert (request.model_name, request.id, len(request.parameters)) == ("tensorrt_llm", "r1", 0)
    inputs = parse(received(request))
    assert (inputs.text, inputs.token_ids, inputs.sampling) == ("hé", None, sampling)
    assert (inputs.stop, inputs.skip_special_tokens, inputs.streaming, inputs.echo) == (("é", "\n"), False, True, False)
    assert inputs.returns == own("m").returns.keys()
    assert {"finish_reason", "stop_reason", "output_ids", "num_input_tokens", "num_output_tokens"} <= inputs.returns


def test_token_ids_as_prompt() -> None:
    inputs = parse(received(wire.encode("m", [5, 6, 7], SamplingParams())))
    assert (inputs.text, inputs.token_ids, inputs.sampling) == (None, (5, 6, 7), SamplingParams())


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        (SamplingParams(seed=-1), "seed is -1, which UINT64 cannot hold"),
        (SamplingParams(top_k=1.5), "top_k is 1.5, which INT32 cannot hold"),  # type: ignore[arg-type]
        (SamplingParams(max_tokens="5"), "max_tokens is '5', which INT32 cannot hold"),  # type: ignore[arg-type]
        (SamplingParams(max_tokens=2**31), "max_tokens is 2147483648, which INT32 cannot hold"),
        (
            SamplingParams(stop_token_ids=(1, 2**40)),
            "stop_token_ids is 1099511627776, which INT32 cannot hold",
        ),
    ],
)
def test_number_that_its_datatype_cannot_hold(sampling: SamplingParams, said: str) -> None:
    with pytest.raises(ClientError) as caught:
        wire.encode("m", "a", sampling)
    assert str(caught.value) == said


def test_last_chunk() -> None:
    reply = message(
        text_output=text("né"),
        output_ids=ints(3, 4),
        finish_reason=text("stop"),
        stop_reason=text("4"),
        num_input_tokens=ints(9),
        num_output_tokens=ints(2),
        output_log_probs=("FP32", [2], np.array([-0.5, -1], np.float32).tobytes()),
        output_top_ids=("INT32", [2, 2], np.array([3, 7, 4, 8], np.int32).tobytes()),
        output_top_log_probs=("FP32", [2, 2], np.array([-0.5, -2, -1, -3], np.float32).tobytes()),
    )
    assert wire.decode(reply, 77) == Chunk(
        text="né",
        token_ids=(3, 4),
        received_ns=77,
        finish_reason="stop",
        stop_reason="4",
        prompt_tokens=9,
        output_tokens=2,
        logprobs=(TokenLogprob(3, -0.5, ((3, -0.5), (7, -2.0))), TokenLogprob(4, -1.0, ((4, -1.0), (8, -3.0)))),
    )


def test_chunk_in_the_middle_and_one_without_tokens() -> None:
    assert wire.decode(message(text_output=text(""), output_ids=ints(3)), 1) == Chunk("", (3,), 1)
    assert wire.decode(message(text_output=text("a"), output_ids=ints(), stop_reason=text("")), 1) == Chunk("a", (), 1)


def test_output_is_read_by_its_wire_datatype() -> None:
    counts = ("INT64", [1], np.array([5], np.int64).tobytes())
    assert wire.decode(message(num_input_tokens=counts), 1).prompt_tokens == 5
    with pytest.raises(ClientError, match="output 'output_ids' has the unexpected datatype 'FP16'"):
        wire.decode(message(output_ids=("FP16", [1], b"\0\0")), 1)
    assert wire.decode(message(context_logits=("FP16", [1], b"\0\0")), 1) == Chunk("", (), 1)


@pytest.mark.parametrize(
    ("datatype", "kind"),
    [("INT32", "<i4"), ("INT64", "<i8"), ("UINT32", "<u4"), ("UINT64", "<u8"), ("BOOL", "?"), ("FP32", "<f4")],
)
@pytest.mark.parametrize("shape", [[3], [1, 3], [3, 1]])
def test_every_datatype_and_shape_is_read_alike(datatype: str, kind: str, shape: list[int]) -> None:
    """Little-endian on the wire, whatever the machine; one dimension is read without NumPy."""
    values = np.array([1, 0, 1], kind)
    assert wire.decode(message(num_cached_tokens=(datatype, shape, values.tobytes())), 1).cached_tokens == 1
    ids = wire.decode(message(output_ids=(datatype, [3], values.tobytes())), 1).token_ids
    assert [type(token) for token in ids] == [type(value) for value in values.tolist()]
    assert list(ids) == values.tolist()


def test_text_in_several_elements() -> None:
    raw = b"\1\0\0\0a" + b"\0\0\0\0" + b"\2\0\0\0\xc3\xa9"
    assert wire.decode(message(text_output=("BYTES", [3], raw)), 1).text == "aé"
    assert wire.decode(message(text_output=("BYTES", [0], b"")), 1).text == ""
    assert wire.decode(message(text_output=("BYTES", [1], b"\1\0\0\0\xff")), 1).text == "\ufffd"


def test_numbers_may_come_as_text_and_with_a_batch_dimension() -> None:
    assert wire.decode(message(num_cached_tokens=text("12")), 1).cached_tokens == 12
    batched = ("INT64", [1, 1], np.array([2**40], np.int64).tobytes())
    assert wire.decode(message(response_time_ns=batched), 1).response_time_ns == 2**40
    for name in ("num_input_tokens", "response_time_ns"):
        with pytest.raises(ClientError, match=f"output '{name}' is 'N/A' and no number"):
            wire.decode(message(**{name: text("N/A")}), 1)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (("BYTES", [1], b"\x05\0\0\0ab"), "output 'text_output' ends inside an element"),
        (("BYTES", [1], b"\x05"), "output 'text_output' ends inside an element"),
        (("INT32", [2], b"\0\0\0\0"), "output 'text_output' has 4 bytes, which do not fit its shape [2]"),
        (("INT32", [1], b"\0\0\0"), "output 'text_output' has 3 bytes, which do not fit its shape [1]"),
    ],
)
def test_tensor_that_lies_about_its_length(output: tuple[str, list[int], bytes], said: str) -> None:
    with pytest.raises(ClientError) as caught:
        wire.decode(message(text_output=output), 1)
    assert str(caught.value) == said


def test_logprobs_that_do_not_fit_the_tokens() -> None:
    def probabilities(*shape: int) -> tuple[str, list[int], bytes]:
        return ("FP32", list(shape), np.zeros(shape, np.float32).tobytes())

    for outputs in (
        {"output_log_probs": probabilities(1)},
        {"output_log_probs": probabilities(2), "output_top_ids": ("INT32", [2, 2], bytes(16))},
        {
            "output_log_probs": probabilities(2),
            "output_top_ids": ("INT32", [2, 2], bytes(16)),
            "output_top_log_probs": probabilities(2, 1),
        },
    ):
        with pytest.raises(ClientError, match="the log-probabilities of 2 tokens do not fit them"):
            wire.decode(message(output_ids=ints(1, 2), **outputs), 1)
    assert wire.decode(message(output_log_probs=probabilities(1, 1, 2)), 1).logprobs == ()


def test_a_trimmed_ensemble_that_cannot_be_told_to_be_greedy() -> None:
    inputs = {key: tensor for key, tensor in own("e").inputs.items() if key != "top_k"}
    contract = Contract("e", "ensemble", inputs, {})
    with pytest.raises(UnsupportedError, match=r"^model 'e' takes no top_k\. Leave it out$"):
        wire.encode("e", "a", SamplingParams(), contract=contract)


def test_gaps_among_likely_tokens_are_left_out() -> None:
    row = ("FP32", [1, 2], np.array([-0.5, np.nan], np.float32).tobytes())
    outputs = {"output_log_probs": ("FP32", [1], np.array([-0.5], np.float32).tobytes()), "output_top_log_probs": row}
    outputs["output_top_ids"] = ("INT32", [1, 2], np.array([3, -1], np.int32).tobytes())
    decoded = wire.decode(message(output_ids=ints(3), **outputs), 1)
    assert decoded.logprobs == (TokenLogprob(3, -0.5, ((3, -0.5),)),)


def test_output_without_content() -> None:
    reply = message(text_output=text("a"))
    reply.infer_response.outputs.add(name="output_ids", datatype="INT32", shape=[1])
    with pytest.raises(ClientError, match="2 outputs came with 1 contents"):
        wire.decode(reply, 1)


def foreign(kind: Any, *keys: str, **options: Any) -> Contract:
    datatypes = {"streaming": "BOOL", "exclude_input": "BOOL", "temperature": "FP32", "top_p": "FP32", "min_p": "FP64"}
    inputs = {key: Tensor(key, datatypes.get(key, "INT32")) for key in ("max_tokens", "top_k", *datatypes, *keys)}
    inputs |= {key: Tensor(key, "BYTES") for key in ("text_input", "stop")}
    return Contract("m", kind, inputs, {}, **options)


def sent(request: service_pb2.ModelInferRequest) -> dict[str, tuple[str, list[int], bytes]]:
    return {
        tensor.name: (tensor.datatype, list(tensor.shape), raw)
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }


def test_batched_model_gets_two_dimensions_and_greedy_said_outright() -> None:
    contract = foreign("ensemble", batched=True)
    assert sent(wire.encode("m", "ab", SamplingParams(max_tokens=3), stop=("x", "y"), contract=contract)) == {
        "text_input": ("BYTES", [1, 1], b"\2\0\0\0ab"),
        "max_tokens": ("INT32", [1, 1], b"\3\0\0\0"),
        "stop": ("BYTES", [1, 2], b"\1\0\0\0x\1\0\0\0y"),
        "streaming": ("BOOL", [1, 1], b"\1"),
        "exclude_input": ("BOOL", [1, 1], b"\1"),
        "top_k": ("INT32", [1, 1], b"\1\0\0\0"),
    }


def test_sampling_is_said_outright_and_by_the_model_s_datatypes() -> None:
    sampling = SamplingParams(temperature=0.5, min_p=0.25)
    tensors = sent(wire.encode("m", "a", sampling, contract=foreign("llmapi", streams=False)))
    assert tensors["streaming"] == ("BOOL", [1], b"\0")
    assert tensors["temperature"] == ("FP32", [1], np.float32(0.5).tobytes())
    assert tensors["top_k"] == ("INT32", [1], b"\0\0\0\0")
    assert tensors["top_p"] == ("FP32", [1], np.float32(1).tobytes())
    assert tensors["min_p"] == ("FP64", [1], np.float64(0.25).tobytes())


@pytest.mark.parametrize(
    ("prompt", "sampling", "options", "named"),
    [
        ([1], SamplingParams(), {}, "token ids as a prompt, only text"),
        ("a", SamplingParams(seed=1), {}, "seed"),
        ("a", SamplingParams(ignore_eos=True), {}, "ignore_eos"),
        ("a", SamplingParams(), {"skip_special_tokens": False}, "skip_special_tokens"),
    ],
)
def test_what_the_model_does_not_take_is_never_dropped(
    prompt: Any, sampling: SamplingParams, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UnsupportedError, match=f"^model 'm' takes no {named}"):
        wire.encode("m", prompt, sampling, contract=foreign("llmapi"), **options)


def test_datatype_that_cannot_be_sent() -> None:
    contract = Contract("m", "trtkit", {**own("m").inputs, "top_k": Tensor("top_k", "FP16")}, {})
    with pytest.raises(ClientError, match="the model takes top_k as FP16, which this client cannot send"):
        wire.encode("m", "a", SamplingParams(top_k=1), contract=contract)


def test_returns_that_are_known_are_asked_for() -> None:
    assert own("m").returns.keys() <= set(RETURNS)

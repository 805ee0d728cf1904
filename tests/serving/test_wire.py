from __future__ import annotations

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from toolkit.engine.runtime.protocol import SamplingParams, TokenLogprob
from toolkit.errors import ClientError, DeadlineError, UnavailableError
from toolkit.serving import wire
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
    assert inputs.returns == {"finish_reason", "stop_reason", "output_ids", "num_input_tokens", "num_output_tokens"}


def test_token_ids_as_prompt() -> None:
    inputs = parse(received(wire.encode("m", [5, 6, 7], SamplingParams())))
    assert (inputs.text, inputs.token_ids, inputs.sampling) == (None, (5, 6, 7), SamplingParams())


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        (SamplingParams(seed=-1), "seed is -1, which UINT64 cannot hold"),
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


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("the queue is full: 3 requests are running or waiting", UnavailableError),
        ("Request for unknown model: 'm' has no available versions", UnavailableError),
        ("input 'top_p' is 2.0\n  and must be less", ClientError),
    ],
)
def test_error_message_becomes_one_line_of_its_kind(said: str, kind: type[ClientError]) -> None:
    with pytest.raises(ClientError) as caught:
        wire.decode(service_pb2.ModelStreamInferResponse(error_message=said), 0)
    assert type(caught.value) is kind
    assert str(caught.value) == " ".join(said.split())


@pytest.mark.parametrize(
    ("code", "details", "kind", "said"),
    [
        (grpc.StatusCode.UNAVAILABLE, "refused\n", UnavailableError, "h:1: refused"),
        (
            grpc.StatusCode.UNAVAILABLE,
            "failed to connect to all addresses; last error: UNKNOWN",
            UnavailableError,
            "h:1: nothing serves there. Type: trtkit serve RECIPE",
        ),
        (
            grpc.StatusCode.UNAVAILABLE,
            "Stream removed (Socket closed)",
            UnavailableError,
            "h:1: the server went away. Type: trtkit serve RECIPE",
        ),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "late", DeadlineError, "h:1: late"),
        (grpc.StatusCode.CANCELLED, None, ClientError, "cancelled"),
    ],
)
def test_failed_rpc(code: grpc.StatusCode, details: str | None, kind: type[ClientError], said: str) -> None:
    error = wire.error_from(code, details, "h:1")
    assert (type(error), str(error)) == (kind, said)

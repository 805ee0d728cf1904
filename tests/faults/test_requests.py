"""Requests that no client should send."""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Sequence

import grpc
import pytest

from tests.faults.client import Tensor, ids, packed, post, prompt, request, send, tensor
from tests.faults.matrix import Fault, fault, faults
from tests.faults.watch import Scene, regions

pytestmark = pytest.mark.triton

MIB = 2**20
HELLO = tensor("text_input", "BYTES", "a")


def bad(id: str, what: str, says: str, *tensors: Tensor) -> Fault:
    return Fault(id, what, f"`{says}`", payload=tensors)


def sampling(name: str, datatype: str, value: float) -> tuple[Tensor, Tensor]:
    return HELLO, tensor(name, datatype, value)


MALFORMED: Sequence[Fault] = (
    bad(
        "dtype",
        "a tensor of another datatype",
        "inference input 'text_input' data-type is 'INT32', but model '…' expects 'BYTES'",
        tensor("text_input", "INT32", 1),
    ),
    bad(
        "rank",
        "a tensor of another rank",
        "unexpected shape for input 'text_input' for model '…'. Expected [1], got [1,1]",
        tensor("text_input", "BYTES", "a", shape=(1, 1)),
    ),
    bad(
        "count",
        "two elements where one belongs",
        "unexpected shape for input 'text_input' for model '…'. Expected [1], got [2]",
        tensor("text_input", "BYTES", "a", "b"),
    ),
    bad(
        "negative-shape",
        "a negative dimension",
        "All input dimensions should be specified for input 'input_ids' for model '…', got [-1]",
        Tensor("input_ids", "INT32", (-1,), b"\1\0\0\0"),
    ),
    bad(
        "huge-shape",
        "a shape of 2^62 elements over 4 bytes",
        "input byte size mismatch for input 'input_ids' for model '…'. Expected 0, got 4",
        Tensor("input_ids", "INT32", (2**62,), b"\1\0\0\0"),
    ),
    bad(
        "unknown-tensor",
        "a tensor that the model does not have",
        "unexpected inference input 'text_inputs' for model '…'",
        tensor("text_inputs", "BYTES", "a"),
    ),
    bad("no-tensor", "no tensors", "send exactly one of the inputs 'text_input' and 'input_ids'"),
    bad(
        "no-prompt",
        "no prompt among the tensors",
        "send exactly one of the inputs 'text_input' and 'input_ids'",
        tensor("max_tokens", "INT32", 1),
    ),
    bad(
        "two-prompts",
        "text and ids",
        "send exactly one of the inputs 'text_input' and 'input_ids'",
        HELLO,
        tensor("input_ids", "INT32", 1),
    ),
    bad(
        "two-names",
        "two names of one input",
        "inputs 'sampling_param_top_k' and 'top_k' mean the same: send one of them",
        HELLO,
        tensor("top_k", "INT32", 1),
        tensor("sampling_param_top_k", "INT32", 1),
    ),
    bad(
        "same-name-twice",
        "one input twice",
        "input 'top_k' already exists in request",
        HELLO,
        tensor("top_k", "INT32", 1),
        tensor("top_k", "INT32", 2),
    ),
    bad(
        "utf8",
        "a prompt that is not UTF-8",
        "input 'text_input' is not UTF-8 at byte 1",
        tensor("text_input", "BYTES", b"a\xff"),
    ),
    bad(
        "lying-length",
        "a BYTES length beyond the tensor's end",
        "incomplete string data for inference input 'text_input', expecting string of length 99",
        Tensor("text_input", "BYTES", (1,), struct.pack("<I", 99) + b"a"),
    ),
    bad(
        "huge-length",
        "a BYTES length of 2^32 - 1",
        "incomplete string data for inference input 'text_input', expecting string of length 4294967295",
        Tensor("text_input", "BYTES", (1,), b"\xff\xff\xff\xff" + b"a"),
    ),
    bad(
        "short-length",
        "bytes left over after the BYTES element",
        "unexpected number of string elements 2 for inference input 'text_input' for model '…', expecting 1",
        Tensor("text_input", "BYTES", (1,), packed(b"a") + b"more"),
    ),
    bad(
        "short-raw",
        "fewer bytes than the shape needs",
        "input byte size mismatch for input 'max_tokens' for model '…'. Expected 4, got 2",
        HELLO,
        Tensor("max_tokens", "INT32", (1,), b"\1\0"),
    ),
    bad(
        "empty-raw",
        "no bytes for a tensor",
        "input byte size mismatch for input 'max_tokens' for model '…'. Expected 4, got 0",
        HELLO,
        Tensor("max_tokens", "INT32", (1,), b""),
    ),
    bad("empty-prompt", "a prompt of no tokens", "the prompt is empty", tensor("text_input", "BYTES", "")),
    bad(
        "too-long",
        "a prompt as long as the context",
        "the prompt has 64 tokens, the context 64",
        tensor("text_input", "BYTES", "a" * 64),
    ),
    bad(
        "negative-id",
        "a negative token id",
        "input 'input_ids' is -1 and must be at least 0",
        tensor("input_ids", "INT32", -1),
    ),
    bad(
        "64-mib-text",
        "a prompt of 64 MiB",
        "input 'text_input' has 67108864 bytes, more than fit into 64 tokens",
        tensor("text_input", "BYTES", b"a" * (64 * MIB)),
    ),
    bad(
        "64-mib-ids",
        "64 MiB of token ids",
        "input 'input_ids' has 16777216 elements and may have 64",
        Tensor("input_ids", "INT32", (16 * MIB,), bytes(64 * MIB)),
    ),
    bad(
        "10000-stops",
        "ten thousand stop strings",
        "input 'stop_words' has 10000 elements and may have 64",
        HELLO,
        tensor("stop_words", "BYTES", *["x"] * 10_000),
    ),
    bad(
        "long-stop",
        "a stop string of 300 characters",
        "stop has a string of 300 characters, but one has 1 to 256",
        HELLO,
        tensor("stop_words", "BYTES", "x" * 300),
    ),
    bad(
        "empty-stop",
        "an empty stop string",
        "input 'stop_words' is '' and must be not empty",
        HELLO,
        tensor("stop_words", "BYTES", ""),
    ),
    bad(
        "nan-temperature",
        "temperature NaN",
        "input 'temperature' is nan and must be between 0 and 100",
        *sampling("temperature", "FP32", math.nan),
    ),
    bad(
        "inf-temperature",
        "temperature infinite",
        "input 'temperature' is inf and must be between 0 and 100",
        *sampling("temperature", "FP32", math.inf),
    ),
    bad(
        "top-p", "top_p 1.5", "input 'top_p' is 1.5 and must be above 0 and at most 1", *sampling("top_p", "FP32", 1.5)
    ),
    bad(
        "nan-top-p",
        "top_p NaN",
        "input 'top_p' is nan and must be above 0 and at most 1",
        *sampling("top_p", "FP32", math.nan),
    ),
    bad("top-k", "top_k -5", "input 'top_k' is -5 and must be at least 0", *sampling("top_k", "INT32", -5)),
    bad(
        "nan-penalty",
        "a penalty NaN",
        "input 'repetition_penalty' is nan and must be between 0.01 and 100",
        *sampling("repetition_penalty", "FP32", math.nan),
    ),
    bad(
        "no-tokens",
        "max_tokens 0",
        "input 'max_tokens' is 0 and must be at least 1",
        *sampling("max_tokens", "INT32", 0),
    ),
    bad(
        "min-over-max",
        "min_tokens above max_tokens",
        "input 'sampling_param_min_tokens' is 9, more than max_tokens 2",
        HELLO,
        tensor("max_tokens", "INT32", 2),
        tensor("min_tokens", "INT32", 9),
    ),
    bad(
        "lora",
        "something that the model does not have",
        "input 'lora_name' asks for LoRA adapters, which this model does not have",
        HELLO,
        tensor("lora_name", "BYTES", "mine"),
    ),
    bad(
        "stop-without-id",
        "`stop` without a request id",
        "input 'stop' needs a request id: send that of the request to stop",
        tensor("stop", "BOOL", True),
    ),
)


@faults(MALFORMED)
def test_malformed(scene: Scene, row: Fault) -> None:
    with scene.refuses():
        [message] = send(scene.server.grpc_url, request(row.payload))
        assert row.says.search(message.error_message), message.error_message


@fault("stop-unknown-id", "`stop` with the id of no request", client="an empty answer, OK")
def test_stop_of_nothing(scene: Scene) -> None:
    with scene.refuses():
        [message] = send(scene.server.grpc_url, request([tensor("stop", "BOOL", True)], request_id="nobody's"))
        assert (message.error_message, len(message.infer_response.outputs)) == ("", 0)


@fault("unknown-model", "a model that is not served", client="`Request for unknown model: 'other' is not found`")
def test_unknown_model(scene: Scene, row: Fault) -> None:
    with scene.refuses():
        [message] = send(scene.server.grpc_url, request([HELLO], model="other"))
        assert row.says.search(message.error_message), message.error_message


@fault(
    "64-mib-again",
    "a prompt of 64 MiB, three times",
    client="`input 'text_input' has 67108864 bytes`",
    after="as before, but the model process keeps the shared memory that the first one took, and takes no more",
)
def test_shared_memory_of_large_requests_is_used_again(scene: Scene, row: Fault) -> None:
    large = request([tensor("text_input", "BYTES", b"a" * (64 * MIB))])
    sizes = []
    with scene.refuses():
        for _ in range(3):
            [message] = send(scene.server.grpc_url, large)
            assert row.says.search(message.error_message)
            sizes.append(sum(regions(scene.server).values()))
    assert sizes[0] == sizes[1] == sizes[2] < 160 * MIB


@fault("missing-raw", "fewer contents than tensors", client="`unable to find data for input tensor 'max_tokens'`")
def test_contents_missing(scene: Scene, row: Fault) -> None:
    short = request(prompt("a", 2))
    del short.raw_input_contents[1:]
    with scene.refuses():
        [message] = send(scene.server.grpc_url, short)
        assert row.says.search(message.error_message), message.error_message


@fault(
    "no-shm", "a tensor in shared memory that nobody registered", client="`Unable to find shared memory region: 'mine'`"
)
def test_unregistered_shared_memory(scene: Scene, row: Fault) -> None:
    elsewhere = request([HELLO])
    del elsewhere.raw_input_contents[:]
    elsewhere.inputs[0].parameters["shared_memory_region"].string_param = "mine"
    elsewhere.inputs[0].parameters["shared_memory_byte_size"].int64_param = 5
    with scene.refuses():
        [message] = send(scene.server.grpc_url, elsewhere)
        assert row.says.search(message.error_message), message.error_message


@fault(
    "parameter",
    "an input sent as a request parameter",
    client="`unknown request parameter 'max_tokens'. Send 'max_tokens' as an input tensor`",
)
def test_input_as_parameter(scene: Scene, row: Fault) -> None:
    parameter = request([HELLO])
    parameter.parameters["max_tokens"].int64_param = 2
    with scene.refuses():
        [message] = send(scene.server.grpc_url, parameter)
        assert row.says.search(message.error_message), message.error_message


@fault(
    "one-of-three",
    "a malformed request between two good ones on one RPC",
    client="`input 'temperature' is nan` for that one, whole answers for the others",
)
def test_bad_request_between_good_ones(scene: Scene, row: Fault) -> None:
    good, nan = request(prompt("a", 3)), request(sampling("temperature", "FP32", math.nan))
    with scene.unharmed():
        messages = send(scene.server.grpc_url, good, nan, good)
    assert sorted(token for message in messages for token in ids(message)) == [*b"bbccdd"]
    [said] = [message.error_message for message in messages if message.error_message]
    assert row.says.search(said)


@fault("not-protobuf", "bytes that are no request", client="the stream's end, OK")
def test_garbage_for_a_request(scene: Scene) -> None:
    with scene.refuses(), grpc.insecure_channel(scene.server.grpc_url) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        assert list(call(iter([b"\xff" * 64]), timeout=10)) == []


@fault("not-http2", "bytes that are no HTTP/2 on the gRPC port", client="a closed connection")
def test_garbage_on_the_grpc_port(scene: Scene) -> None:
    host, _, port = scene.server.grpc_url.partition(":")
    with scene.refuses(), socket.create_connection((host, int(port)), timeout=10) as made:
        made.sendall(b"\0" * 4096)
        while made.recv(65536):
            pass


HTTP: Sequence[Fault] = (
    Fault(
        "http-no-json", "HTTP: a body that is no JSON", "500 `failed to parse the request JSON buffer`", payload=b"{"
    ),
    Fault(
        "http-surrogate",
        "HTTP: half a surrogate pair in the prompt",
        "500 `The surrogate pair in string is invalid`",
        payload=b'{"text_input": "\\ud800"}',
    ),
    Fault(
        "http-dtype",
        "HTTP: a number for a text",
        "500 `attempt to access JSON non-string as string`",
        payload=b'{"text_input": 7}',
    ),
    Fault(
        "http-rank",
        "HTTP: a list where one value belongs",
        "400 `The schema can not convert input 'text_input' to tensor with proper shape`",
        payload=b'{"text_input": ["a", "b"]}',
    ),
    Fault(
        "http-unknown",
        "HTTP: a key that is no input",
        "400 `unknown request parameter 'max_token'. Send 'max_tokens' as an input tensor`",
        payload=b'{"text_input": "a", "max_token": 3}',
    ),
    Fault(
        "http-nan",
        "HTTP: temperature NaN",
        "400 `input 'temperature' is nan and must be between 0 and 100`",
        payload=b'{"text_input": "a", "temperature": NaN}',
    ),
)


@faults(HTTP)
def test_malformed_over_http(scene: Scene, row: Fault) -> None:
    with scene.refuses():
        head, _, body = post(scene.server.http_url, row.payload).partition(b"\r\n\r\n")
        assert head.decode().startswith(f"HTTP/1.1 {row.client[:3]} ")
        assert row.says.search(body.decode()), body

"""A one-token inference without asyncio: the only readiness and health check that means "can generate"."""

from __future__ import annotations

import time

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.serving import wire
from toolkit.serving.connection import CHANNEL_OPTIONS
from toolkit.serving.contract import Contract, contract_of
from toolkit.serving.failures import error_from
from toolkit.serving.reader import Reader

PROMPT = (0,)
"""Token 0 is in every vocabulary, and ids need no tokenizer."""

SAMPLING = SamplingParams(max_tokens=1, ignore_eos=True)


def request_for(contract: Contract) -> tuple[str | tuple[int, ...], SamplingParams]:
    """Prompt and sampling of a one-token request that the model takes."""
    if contract.kind == "trtkit":
        return PROMPT, SAMPLING
    return "a", SamplingParams(max_tokens=1)


def probe(url: str, model: str, *, timeout_s: float) -> None:
    """Generate one token at ``url`` (host:port). Raises ``ClientError``, as the client would."""
    deadline = time.monotonic() + timeout_s
    with grpc.insecure_channel(url, options=CHANNEL_OPTIONS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            config = stub.ModelConfig(service_pb2.ModelConfigRequest(name=model), timeout=timeout_s).config
            contract = contract_of(config)
            request = wire.encode(model, *request_for(contract), contract=contract)
            reader = Reader(contract)
            for message in stub.ModelStreamInfer(iter([request]), timeout=max(0.0, deadline - time.monotonic())):
                reader.read(message, time.monotonic_ns())
            list(reader.finish(time.monotonic_ns()))
        except grpc.RpcError as error:
            raise error_from(error.code(), error.details(), url) from None

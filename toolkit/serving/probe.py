"""A one-token inference without asyncio: the only readiness and health check that means "can generate"."""

from __future__ import annotations

import time

import grpc
from tritonclient.grpc import service_pb2_grpc

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import ClientError
from toolkit.serving import wire

PROMPT = (0,)
"""Token 0 is in every vocabulary, and ids need no tokenizer."""

SAMPLING = SamplingParams(max_tokens=1, ignore_eos=True)


def probe(url: str, model: str, *, timeout_s: float) -> None:
    """Generate one token at ``url`` (host:port). Raises ``ClientError``, as the client would."""
    request = wire.encode(model, PROMPT, SAMPLING)
    with grpc.insecure_channel(url, options=wire.CHANNEL_OPTIONS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            messages = stub.ModelStreamInfer(iter([request]), timeout=timeout_s)
            chunks = [wire.decode(message, time.monotonic_ns()) for message in messages]
        except grpc.RpcError as error:
            raise wire.error_from(error.code(), error.details(), url) from None
    if not chunks or chunks[-1].finish_reason is None:
        raise ClientError("the stream ended before the generation did", where=url)

"""What serving costs beside the engine: the real Triton with an engine that needs no time, and with the CPU runtime.

From the checkout, with the extra ``server`` installed:

    PYTHONPATH=. python benchmarks/serving.py

Server, model process and client share the machine. Three measurements, each as one ratio from one run:

    null     64 streams of an engine without a model: tokens/s end to end, with ``stream_interval`` 20, and with one
             response a token (interval 1, no coalescing), in turn
    wire     one answer of 4,096 tokens: the sizes of all responses added, text as deltas and cumulative; nothing is
             coalesced beyond the interval, as with one slow stream
    cpu      the sample on the CPU runtime, 8 streams: tokens/s through Triton and of the same engine in this process,
             in turn, at the recipe's ``stream_interval`` of 1

The client is a bare loop over the generated gRPC stub. A table is printed, then one JSON line; the status is 1 if
Triton answers with other tokens than the engine makes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import null_engine
import numpy as np
from machine import processor, versions
from tritonclient.grpc import service_pb2, service_pb2_grpc

from toolkit import recipe as recipes
from toolkit.checkpoint.census import take_census
from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.build import build
from toolkit.engine.bundle import Bundle
from toolkit.engine.runtime import open_engine
from toolkit.engine.runtime.protocol import Request, SamplingParams
from toolkit.plan import make_plan
from toolkit.serving.repository import ENGINE_FACTORY, render
from toolkit.serving.server import Server

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "tiny-gpt-oss" / "cpu.yaml"
NULL = "benchmarks.null_engine:open_engine"
MODEL = "tensorrt_llm"
PROMPT = tuple(range(10, 42))


def make_bundle(folder: Path, interval: int) -> Bundle:
    recipe = recipes.load(RECIPE, [f"engine.output={folder}", f"engine.stream_interval={interval}"])
    with Checkpoint.open(ROOT / "samples" / "tiny-gpt-oss" / "nvfp4") as source:
        return build(recipe, make_plan(recipe, take_census(source)), source).bundle


@contextmanager
def served(bundle: Bundle, factory: str, *, coalesce: bool = True) -> Iterator[str]:
    """The gRPC address of a Triton that serves ``bundle``."""
    with tempfile.TemporaryDirectory() as folder:
        repository = render(bundle, Path(folder) / "repository", engine_factory=factory, coalesce=coalesce)
        server = Server.start(repository)
        try:
            yield server.grpc_url
        finally:
            server.stop(grace_s=2)


def message(max_tokens: int, **flags: bool | str) -> Any:
    request = service_pb2.ModelInferRequest(model_name=MODEL)
    tensors: dict[str, Any] = {
        "input_ids": np.array(PROMPT, np.int32),
        "max_tokens": np.array([max_tokens], np.int32),
        "stream": True,
        "ignore_eos": True,
        **flags,
    }
    for name, value in tensors.items():
        if isinstance(value, bool):
            datatype, raw, size = "BOOL", bytes([value]), 1
        elif isinstance(value, str):
            datatype, raw, size = "BYTES", len(value).to_bytes(4, "little") + value.encode(), 1
        else:
            datatype, raw, size = "INT32", value.tobytes(), value.size
        request.inputs.add(name=name, datatype=datatype, shape=[size])
        request.raw_input_contents.append(raw)
    return request


async def stream(stub: Any, request: Any, take: Callable[[Any], int]) -> int:
    """The sum of ``take`` over all responses of one RPC."""
    total = 0
    call = stub.ModelStreamInfer()
    await call.write(request)
    await call.done_writing()
    while (reply := await call.read()) is not grpc.aio.EOF:
        if reply.error_message:
            raise SystemExit(f"the server refused: {reply.error_message}")
        total += take(reply)
    return total


def raw_ids(reply: Any) -> bytes:
    names = [output.name for output in reply.infer_response.outputs]
    raw: bytes = reply.infer_response.raw_output_contents[names.index("output_ids")]
    return raw


def tokens_in(reply: Any) -> int:
    return len(raw_ids(reply)) // 4


async def check(url: str, engine: Any) -> None:
    """End unless ``url`` answers with the tokens of ``engine``."""
    served: list[bytes] = []
    request = message(64, exclude_input_in_output=True, return_output_ids=True)
    async with grpc.aio.insecure_channel(url) as channel:
        await stream(service_pb2_grpc.GRPCInferenceServiceStub(channel), request, lambda reply: keep(served, reply))
    events = engine.submit(Request("check", PROMPT, SamplingParams(max_tokens=64, ignore_eos=True)))
    made = [token async for event in events for token in event.token_ids]
    if np.frombuffer(b"".join(served), np.int32).tolist() != made:
        raise SystemExit("Triton answers with other tokens than the engine makes: the timing would mean nothing")


def keep(served: list[bytes], reply: Any) -> int:
    served.append(raw_ids(reply))
    return 0


async def through_triton(url: str, streams: int, max_tokens: int) -> float:
    """Tokens/s of ``streams`` requests at once."""
    request = message(max_tokens, exclude_input_in_output=True, return_output_ids=True)
    async with grpc.aio.insecure_channel(url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        begin = time.perf_counter()
        counts = await asyncio.gather(*(stream(stub, request, tokens_in) for _ in range(streams)))
        seconds = time.perf_counter() - begin
    if counts != [max_tokens] * streams:
        raise SystemExit(f"{max_tokens} tokens were asked for, but {sorted(set(counts))} came")
    return streams * max_tokens / seconds


async def offline(engine: Any, streams: int, max_tokens: int) -> float:
    """Tokens/s of the same requests to the engine in this process."""

    async def one(number: int) -> int:
        sampling = SamplingParams(max_tokens=max_tokens, ignore_eos=True)
        events = engine.submit(Request(f"offline-{number}", PROMPT, sampling))
        return sum([len(event.token_ids) async for event in events])

    begin = time.perf_counter()
    counts = await asyncio.gather(*(one(number) for number in range(streams)))
    seconds = time.perf_counter() - begin
    if counts != [max_tokens] * streams:
        raise SystemExit("the engine made another number of tokens than asked for")
    return streams * max_tokens / seconds


async def in_turn(sides: dict[str, Callable[[], Awaitable[float]]], repeats: int) -> dict[str, list[float]]:
    """Each side's figures; one more run of each warms up."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, side in sides.items():
            figure = await side()
            if repeat:
                figures[name].append(figure)
    return figures


def compared(figures: dict[str, list[float]], names: tuple[str, str]) -> dict[str, Any]:
    first, second = (figures[name] for name in names)
    return {
        **{f"{name}_tok_s": round(statistics.median(figures[name]), 1) for name in names},
        "ratio": round(statistics.median(one / other for one, other in zip(first, second, strict=True)), 3),
        "ratios": [round(one / other, 3) for one, other in zip(first, second, strict=True)],
    }


def measure_null(work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    many, one = make_bundle(work / "null-20", 20), make_bundle(work / "null-1", 1)
    with (
        served(many, NULL) as fast,
        served(many, NULL, coalesce=False) as exact,
        served(one, NULL, coalesce=False) as slow,
    ):
        sides = {
            "interval_20": lambda: through_triton(fast, 64, arguments.tokens),
            "token_by_token": lambda: through_triton(slow, 64, max(16, arguments.tokens // 8)),
        }
        for url in (fast, slow):
            asyncio.run(check(url, null_engine.open_engine(one)))
        figures = asyncio.run(in_turn(sides, arguments.repeats))
        return {**compared(figures, ("interval_20", "token_by_token")), "wire": asyncio.run(wire_sizes(exact, slow))}


async def wire_sizes(fast: str, slow: str) -> dict[str, int]:
    """Bytes of all responses of one answer of 4,096 tokens, of exactly 20 (``fast``) and one (``slow``) tokens each."""
    plain = {"exclude_input_in_output": True}
    cases = {
        "delta_interval_20": (fast, plain),
        "delta_interval_20_with_ids": (fast, {**plain, "return_output_ids": True}),
        "delta_interval_1": (slow, plain),
        "cumulative_interval_20": (fast, {**plain, "text_mode": "cumulative"}),
        "cumulative_interval_1": (slow, {**plain, "text_mode": "cumulative"}),
    }
    sizes = {}
    for name, (url, flags) in cases.items():
        async with grpc.aio.insecure_channel(url) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            sizes[name] = await stream(stub, message(4096, **flags), lambda reply: reply.ByteSize())
    return sizes


def measure_cpu(work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    bundle = make_bundle(work / "cpu", 1)
    with served(bundle, ENGINE_FACTORY) as url, closing(open_engine(bundle)) as engine:
        sides = {
            "served": lambda: through_triton(url, 8, arguments.cpu_tokens),
            "offline": lambda: offline(engine, 8, arguments.cpu_tokens),
        }
        asyncio.run(check(url, engine))
        return compared(asyncio.run(in_turn(sides, arguments.repeats)), ("served", "offline"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1024, help="of each of the 64 streams; an eighth token by token")
    parser.add_argument("--cpu-tokens", type=int, default=256, help="of each of the 8 streams of the CPU runtime")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=["null", "cpu"])
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, measure in {"null": measure_null, "cpu": measure_cpu}.items():
            if arguments.only in (None, name):
                result[name] = measure(Path(folder), arguments)
    environment = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        **versions("numpy", "grpcio", "tritonclient", "nvidia-pytriton"),
    }
    for name, figures in result.items():
        print(name)
        for key, value in figures.items():
            print(f"  {key:<24} {value}")
    print(json.dumps({"environment": environment, **result}))


if __name__ == "__main__":
    main()

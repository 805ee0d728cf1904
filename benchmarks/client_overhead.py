"""What the online runner costs: CPU seconds of its process, against a bare loop over the same stub that only receives.

From the checkout:

    PYTHONPATH=. python benchmarks/client_overhead.py

A stub server in a process of its own (trtkit's contract, one token a response, no model behind it) sends 2,000
responses a second over 64 streams. One measuring process has a channel for each side, with the same options; the sides
take turns of about four seconds, first one and then the other first. ``bare`` counts messages in a closed loop of 64
users; ``runner`` is ``toolkit.bench.load.run_load`` through ``TritonClient``, in the same loop, with its records made.

Counted is the CPU time of all threads of the measuring process, gRPC's included; the cost of a response is given for
exactly 2,000 of them a second, in per cent of one core. A table is printed, then one JSON line. The status is 1 if a
side got other responses than were asked for, or if the server fell behind by more than 10 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import grpc
import numpy as np
from machine import processor, versions
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from toolkit.bench.load import run_load
from toolkit.bench.workload import ClosedLoop, RequestSpec
from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.serving import wire
from toolkit.serving.client import TritonClient
from toolkit.serving.connection import CHANNEL_OPTIONS
from toolkit.serving.contract import own

MODEL = "tensorrt_llm"
PROMPT = tuple(range(10, 138))


@dataclass(frozen=True)
class Task:
    """``requests`` of ``tokens`` responses each, ``streams`` at once, ``rate`` responses a second over all of them."""

    rate: int
    streams: int
    requests: int
    tokens: int


# ---- the server


def response(**outputs: str | int | list[int]) -> Any:
    """As Triton sends it: raw contents, one element or several."""
    message = service_pb2.ModelInferResponse(model_name=MODEL, model_version="1")
    for name, value in outputs.items():
        if isinstance(value, str):
            datatype, raw, size = "BYTES", len(value).to_bytes(4, "little") + value.encode(), 1
        elif isinstance(value, list):
            datatype, raw, size = "INT32", np.array(value, np.int32).tobytes(), len(value)
        else:
            wide = name == "response_time_ns"
            datatype, raw, size = ("INT64" if wide else "INT32"), value.to_bytes(8 if wide else 4, "little"), 1
        message.outputs.add(name=name, datatype=datatype, shape=[size])
        message.raw_output_contents.append(raw)
    return service_pb2.ModelStreamInferResponse(infer_response=message)


class Paced(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Sends each stream one token a ``period``, timed from its start so that a late one does not shift the others."""

    def __init__(self, period: float) -> None:
        self._period = period

    async def ModelConfig(self, request: Any, context: Any) -> Any:
        config = model_config_pb2.ModelConfig(name=MODEL)
        config.model_transaction_policy.decoupled = True
        config.parameters["text_mode"].string_value = "delta"
        for tensor in own(MODEL).inputs.values():
            kind = "STRING" if tensor.datatype == "BYTES" else tensor.datatype
            config.input.add(name=tensor.name, data_type=model_config_pb2.DataType.Value(f"TYPE_{kind}"))
        for key in own(MODEL).returns:
            config.output.add(name=key)
        return service_pb2.ModelConfigResponse(config=config)

    async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            tokens = max_tokens_of(request)
            begin = time.monotonic()
            for step in range(tokens):
                await asyncio.sleep(begin + (step + 1) * self._period - time.monotonic())
                outputs = {"text_output": " word", "output_ids": [step + 100], "response_time_ns": time.monotonic_ns()}
                if step + 1 == tokens:
                    counts = {"num_input_tokens": len(PROMPT), "num_output_tokens": tokens, "num_cached_tokens": 0}
                    outputs |= {"finish_reason": "length", "stop_reason": "", **counts}
                yield response(**outputs)


def max_tokens_of(request: Any) -> int:
    names = [tensor.name for tensor in request.inputs]
    raw: bytes = request.raw_input_contents[names.index("sampling_param_max_tokens")]
    return int.from_bytes(raw, "little")


async def serve(task: Task) -> None:
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Paced(task.streams / task.rate), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the parent closes it, or dies
    await server.stop(None)


# ---- the two sides

Side = Callable[[int, int], Awaitable[int]]
"""(requests, tokens of each) → responses that came."""


def bare(stub: Any, streams: int) -> Side:
    async def receive(requests: int, tokens: int) -> int:
        request = wire.encode(MODEL, PROMPT, SamplingParams(max_tokens=tokens, min_tokens=tokens, ignore_eos=True))
        waiting = deque(range(requests))
        counts: list[int] = []

        async def user() -> None:
            while waiting:
                waiting.popleft()
                call, count = stub.ModelStreamInfer(), 0
                await call.write(request)
                await call.done_writing()
                while await call.read() is not grpc.aio.EOF:
                    count += 1
                counts.append(count)

        async with asyncio.TaskGroup() as users:
            for _ in range(streams):
                users.create_task(user())
        return sum(counts)

    return receive


def runner(client: TritonClient, streams: int) -> Side:
    async def receive(requests: int, tokens: int) -> int:
        specs = [RequestSpec(number, PROMPT, tokens) for number in range(requests)]
        load = await run_load(client, specs, (), ClosedLoop(streams), lambda count: None)
        if load.error is not None:
            raise SystemExit(load.error)
        return sum(request.output_tokens for request in load.requests)

    return receive


async def core_percent(side: Side, task: Task, most_behind: float) -> float:
    """CPU time of this process for one turn, in per cent of one core at the asked-for rate."""
    cpu, wall = time.process_time(), time.perf_counter()
    responses = await side(task.requests, task.tokens)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if responses != task.requests * task.tokens:
        raise SystemExit(f"{responses} responses came, not {task.requests * task.tokens}")
    if (rate := responses / wall) < (1 - most_behind) * task.rate:
        raise SystemExit(f"{rate:.0f} responses a second came, not {task.rate}: this machine is too busy")
    return 100 * cpu / responses * task.rate


async def in_turn(url: str, task: Task, repeats: int, most_behind: float) -> dict[str, list[float]]:
    """Each side's figures; one more turn of each warms up."""
    figures: dict[str, list[float]] = {"bare": [], "runner": []}
    async with (
        grpc.aio.insecure_channel(url, options=CHANNEL_OPTIONS) as channel,
        TritonClient(url, model=MODEL) as client,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        sides = {"bare": bare(stub, task.streams), "runner": runner(client, task.streams)}
        for repeat in range(repeats + 1):
            for name in sorted(sides, reverse=bool(repeat % 2)):
                figure = await core_percent(sides[name], task, most_behind)
                if repeat:
                    figures[name].append(figure)
    return figures


# ---- the comparison


@contextmanager
def serving(task: Task) -> Iterator[str]:
    command = [sys.executable, __file__, "--serve", "--rate", str(task.rate), "--streams", str(task.streams)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def compared(figures: dict[str, list[float]], rate: int) -> dict[str, Any]:
    pairs = zip(figures["runner"], figures["bare"], strict=True)
    extra = sorted(ours - base for ours, base in pairs)
    middle = statistics.median(extra)
    return {
        **{f"{side}_percent": round(statistics.median(values), 2) for side, values in figures.items()},
        "extra_percent": round(middle, 2),
        "extra_percent_quartiles": [round(extra[len(extra) * quarter // 4], 2) for quarter in (1, 3)],
        "extra_us_per_response": round(middle / 100 / rate * 1e6, 2),
        "repeats": len(extra),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=2000, help="responses a second")
    parser.add_argument("--streams", type=int, default=64, help="requests in flight")
    parser.add_argument("--requests", type=int, default=64, help="of each turn")
    parser.add_argument("--tokens", type=int, default=128, help="responses of a request")
    parser.add_argument("--repeats", type=int, default=11, help="pairs of turns")
    parser.add_argument("--most-behind", type=float, default=0.1, help="share of the rate that the server may lack")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    task = Task(arguments.rate, arguments.streams, arguments.requests, arguments.tokens)
    if arguments.serve:
        asyncio.run(serve(task))
        return
    with serving(task) as url:
        figures = asyncio.run(in_turn(url, task, arguments.repeats, arguments.most_behind))
    result = compared(figures, task.rate)
    for name, value in result.items():
        print(f"  {name:<24} {value}")
    environment = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        **versions("grpcio", "tritonclient", "protobuf", "numpy"),
    }
    print(json.dumps({"environment": environment, "task": asdict(task), **result}))


if __name__ == "__main__":
    main()

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from typing import Any

from tensorrt_llm import __version__
from tensorrt_llm.executor.result import GenerationResult, IterationResult, RequestError

__all__ = ["Executor", "RequestError"]

DEATH = "CUDA error: an illegal memory access was encountered"
ALPHABET = range(ord("a"), ord("z") + 1)


class Executor:
    """One worker thread steps all running requests. ``allowed`` lets a test give it its steps one by one."""

    def __init__(self, args: Any, vocab_size: int) -> None:
        self.args = args
        self.vocab_size = vocab_size
        self.doing_shutdown = False
        self.mpi_futures: list[Future[None]] = [Future()]
        self.allowed: threading.Semaphore | None = None
        self._error_queue: queue.Queue[Exception] = queue.Queue()
        if __version__.startswith("1.3"):
            self._fatal_error: BaseException | None = None
        self._stats: IterationResult | None = None
        self._waiting: list[GenerationResult] = []
        self._running: list[GenerationResult] = []
        self._iteration = 0
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="fake-trtllm", daemon=True)
        self._thread.start()

    def is_shutdown(self) -> bool:
        return self.doing_shutdown

    def check_health(self) -> bool:
        future = self.mpi_futures[0]
        if future.done() and not self.doing_shutdown:
            self._fatal_error = future.exception()
        return self._fatal_error is None and not self.doing_shutdown

    def submit(self, prompt: list[int], params: Any, streaming: bool) -> GenerationResult:
        result = GenerationResult(prompt, params, streaming, self)
        with self._wake:
            if self._stats is None:
                self._stats = IterationResult()
            self._stats.done = False
            self._waiting.append(result)
            self._wake.notify()
        return result

    def abort_request(self, result: GenerationResult) -> None:
        with self._wake:
            for queued in (self._waiting, self._running):
                if result in queued:
                    queued.remove(result)
                    result.put([], "cancelled")

    def aget_stats(self, timeout: float | None) -> IterationResult:
        stats = self._stats or IterationResult()
        stats.timeout = timeout
        return stats

    def shutdown(self) -> None:
        with self._wake:
            self.doing_shutdown = True
            for result in [*self._waiting, *self._running]:
                result.put([], "cancelled")
            self._wake.notify()
        if self.allowed is not None:
            self.allowed.release()
        self._thread.join()

    def die(self) -> None:
        """As when a worker's process breaks: its future ends, and no response comes any more."""
        self.mpi_futures[0].set_exception(RuntimeError(DEATH))

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self.doing_shutdown or self._waiting or self._moving())
            if self.allowed is not None:
                self.allowed.acquire()
            with self._wake:
                if self.doing_shutdown or self.mpi_futures[0].done():
                    return
                self._step()

    def _moving(self) -> list[GenerationResult]:
        return [result for result in self._running if not (result.prompt[0] == ord("h") and result.count)]

    def _step(self) -> None:
        while self._waiting and len(self._running) < self.args.max_batch_size:
            self._running.append(self._waiting.pop(0))
        self._iteration += 1
        for result in self._moving():
            first = chr(result.prompt[0])
            if first == "n":
                self._running.remove(result)
                result.put_error("`default_max_tokens` (-3) must be greater than 0, max_seq_len (5)")
            elif first in "fd" and result.count:
                self._running.remove(result)
                self.die() if first == "d" else result.put_error("Encountered an error in forward function: no luck")
            else:
                self._advance(result)
        self._report()

    def _advance(self, result: GenerationResult) -> None:
        params = result.params
        token = self._next(result.last)
        if token == params.end_id and result.count + 1 < (params.min_tokens or 0):
            token = self._next(token)
        stops = [] if params.ignore_eos and __version__.startswith("1.3") else params.stop_token_ids or []
        most = min(params.max_tokens, (self.args.max_seq_len or 10**6) - len(result.prompt))
        reason = None
        if token == params.end_id and not params.ignore_eos:
            reason = "end_id"
        elif result.count + 1 >= most:
            reason = "length"
        elif token in stops:
            reason = "stop_words"
        result.add(token, reason, self.args.stream_interval)
        if reason:
            self._running.remove(result)

    def _next(self, token: int) -> int:
        if token in ALPHABET and self.vocab_size > ALPHABET[-1]:
            return ALPHABET[(token - ALPHABET[0] + 1) % len(ALPHABET)]
        return (token + 1) % self.vocab_size

    def _report(self) -> None:
        if self._stats is None or not self.args.enable_iter_perf_stats:
            return
        self._stats.put(
            {
                "iter": self._iteration,
                "iterLatencyMS": 7.5,
                "timestamp": time.strftime("%c"),
                "numActiveRequests": len(self._running),
                "numQueuedRequests": len(self._waiting),
                "gpuMemUsage": 76665782272,
                "kvCacheStats": {"usedNumBlocks": len(self._running), "maxNumBlocks": 100, "tokensPerBlock": 32},
                "inflightBatchingStats": {"numContextRequests": 0, "avgNumDecodedTokensPerIter": 1.0},
                "staticBatchingStats": None,
            }
        )

"""Ways in which trtllm-bench has been seen to fail (facts on failure modes, exit codes and issues), one a name."""

import math
import os
import signal
import subprocess
import sys
import time

FOREVER_S = 600
OUTLIVING = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


class Nothing:
    """Nothing goes wrong; what follows overrides one of these each."""

    no_json = False
    silent = False

    def start(self):
        """Before the model is loaded."""

    def midway(self):
        """After half of the measured requests."""

    def records(self, records):
        """With the records of the requests."""

    def report(self, report):
        """With the report before it is written."""

    def text(self, text):
        return text

    def end(self):
        """After all is written."""


class Interrupted(Nothing):
    def midway(self):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(FOREVER_S)


class Hang(Nothing):
    def midway(self):
        time.sleep(FOREVER_S)


class HangChatty(Nothing):
    """Its log goes on, and even shows bars: those that count are on stderr."""

    def midway(self):
        for number in range(10**9):
            print(f"[TRT-LLM] [I] No items in queue. Benchmarking: 50%|x| {number}/8 [", flush=True)
            time.sleep(0.02)


class HangLoading(Nothing):
    def start(self):
        time.sleep(FOREVER_S)


class Stubborn(Nothing):
    def midway(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(FOREVER_S)


class SlowStart(Nothing):
    def start(self):
        for shard in range(6):
            print(f"Loading safetensors weights in parallel: {shard}/6", file=sys.stderr, flush=True)
            time.sleep(0.2)


class KilledForMemory(Nothing):
    def midway(self):
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(FOREVER_S)


class CudaOutOfMemory(Nothing):
    def start(self):
        # in the words of torch; the type's name is what is printed
        error = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})
        raise error("CUDA out of memory. Tried to allocate 20.00 GiB.")


class SilentEnd(Nothing):
    def midway(self):
        os._exit(0)


class RequestErrors(Nothing):
    def midway(self):
        raise ValueError("Requests failed: The prompt is longer than max_seq_len (3 requests)")


class ReportThenFail(Nothing):
    def end(self):
        raise RuntimeError("Executor worker returned error while shutting down")


class NaN(Nothing):
    def report(self, report):
        report["streaming_metrics"]["avg_tpot_ms"] = math.nan


class NaNThroughput(Nothing):
    def report(self, report):
        report["performance"]["system_output_throughput_tok_s"] = math.nan


class ZeroRequests(Nothing):
    def report(self, report):
        report["request_info"] |= {"num_requests": 0, "avg_num_concurrent_requests": 0.0}
        report["performance"] |= {key: 0.0 for key, value in report["performance"].items() if isinstance(value, float)}


class ShortOutputs(Nothing):
    """The model's end token was not ignored."""

    def records(self, records):
        for record in records:
            record["num_total_output_tokens"] = max(1, record["num_total_output_tokens"] // 4)


class Fewer(Nothing):
    def records(self, records):
        del records[-1]


class FailedRequest(Nothing):
    def records(self, records):
        records[0]["error_tokens"] = 1


class Contradiction(Nothing):
    def report(self, report):
        report["performance"]["output_throughput_per_gpu_tok_s"] *= 8


class CutReport(Nothing):
    def text(self, text):
        return text[: len(text) // 2]


class NoJson(Nothing):
    no_json = True


class Outlived(Nothing):
    def end(self):
        print(f"worker {subprocess.Popen([sys.executable, '-c', OUTLIVING]).pid}", flush=True)


class OutlivedElsewhere(Nothing):
    """A worker in a session of its own, as MPI starts them."""

    def end(self):
        worker = subprocess.Popen([sys.executable, "-c", OUTLIVING], start_new_session=True)
        print(f"worker {worker.pid}", flush=True)


class HangWithWorker(OutlivedElsewhere):
    def start(self):
        self.end()

    def midway(self):
        time.sleep(FOREVER_S)


class Chatty(Nothing):
    def start(self):
        for number in range(4000):
            print(f"{number:06d} " + "x" * 92)


def chosen():
    """The one that FAKE_TRTLLM_BENCH names."""
    return globals()[os.environ.get("FAKE_TRTLLM_BENCH", "Nothing")]()

"""genai-perf's KServe mode with TensorRT-LLM's tensor names, which it insists on, against the served sample."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.tools.counts import ATTEMPTS, Counts, Tool, read_export
from toolkit.engine.bundle import Bundle
from toolkit.serving.server import Server

pytestmark = [pytest.mark.triton, pytest.mark.tools, pytest.mark.timeout(300)]

REQUESTS, TOKENS = 12, 32


def test_its_records_are_what_the_server_counted(
    server: Server, bundle: Bundle, tool: Callable[[str, str], Tool]
) -> None:
    genai_perf = tool("genai-perf", "bin/genai-perf")
    requests = None
    for _ in range(ATTEMPTS):
        before = Counts.of(server)
        ended = genai_perf.run(
            *f"profile -m {server.model_name} --endpoint-type kserve --backend tensorrtllm --streaming".split(),
            *f"-u {server.grpc_url} --tokenizer {bundle.tokenizer_dir} --concurrency 4".split(),
            *f"--request-count {REQUESTS} --artifact-dir out --synthetic-input-tokens-mean 50".split(),
            *f"--synthetic-input-tokens-stddev 0 --output-tokens-mean {TOKENS}".split(),
            "--output-tokens-mean-deterministic",
        )
        counted = Counts.of(server) - before
        assert (counted.requests, counted.others) == (REQUESTS, 0), ended.stdout
        assert counted.output_tokens == REQUESTS * TOKENS
        [path] = genai_perf.work.glob("out/*/profile_export.json")
        requests = read_export(path)
        if requests is not None:
            break
    assert requests is not None
    assert ended.returncode == 0, ended.stdout
    assert len(requests) == REQUESTS
    assert all(2 <= len(request["response_timestamps"]) <= TOKENS for request in requests)
    summary = json.loads(path.with_name("profile_export_genai_perf.json").read_text())
    assert summary["request_count"]["avg"] == REQUESTS
    # it counts the tokens of the text that it got anew, and may come to another number than the server
    assert 0 < summary["output_sequence_length"]["avg"] <= 2 * TOKENS

"""perf_analyzer's records of the served sample: every request, every response, every character."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.tools.counts import ATTEMPTS, Counts, Tool, read_export
from toolkit.engine.bundle import Bundle
from toolkit.engine.text import Tokenizer
from toolkit.serving.server import Server

pytestmark = pytest.mark.triton

PROMPT = "The file object"
REQUESTS, TOKENS = 32, 64


def test_its_records_are_what_the_server_counted(
    server: Server, bundle: Bundle, tool: Callable[[str, str], Tool]
) -> None:
    perf_analyzer = tool("perf-analyzer", "perf_analyzer")
    step = {
        "text_input": [PROMPT],
        "max_tokens": [TOKENS],
        "stream": [True],
        "ignore_eos": [True],
        "exclude_input_in_output": [True],
        "return_num_output_tokens": [True],
    }
    (perf_analyzer.work / "in.json").write_text(json.dumps({"data": [step]}))
    requests = None
    for _ in range(ATTEMPTS):
        before = Counts.of(server)
        ended = perf_analyzer.run(
            *f"-m {server.model_name} -i grpc -u {server.grpc_url} --service-kind triton --streaming --async".split(),
            *f"--input-data in.json --concurrency-range 8 --request-count {REQUESTS}".split(),
            *["--profile-export-file", "out.json"],
        )
        assert ended.returncode == 0, ended.stdout
        assert f"Request count: {REQUESTS}\n" in ended.stdout
        prompt_tokens = len(Tokenizer.open(bundle.tokenizer_dir).encode(PROMPT))
        assert Counts.of(server) - before == Counts(REQUESTS, 0, REQUESTS * prompt_tokens, REQUESTS * TOKENS)
        requests = read_export(perf_analyzer.work / "out.json")
        if requests is not None:
            break
    assert requests is not None
    assert len(requests) == REQUESTS
    texts = set()
    for request in requests:
        times, outputs = request["response_timestamps"], request["response_outputs"]
        # tokens that come while a response is on its way share the next one, so there may be fewer than tokens
        assert 2 <= len(times) == len(outputs) <= TOKENS
        assert all(earlier < later for earlier, later in pairwise([request["timestamp"], *times]))
        assert outputs[-1]["num_output_tokens"] == TOKENS
        texts.add("".join(output["text_output"] for output in outputs))
    assert len(texts) == 1
    assert texts != {""}

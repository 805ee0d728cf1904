"""aiperf has no KServe endpoint; its template one speaks to Triton's generate_stream over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.tools.counts import Counts, Tool
from toolkit.engine.bundle import Bundle
from toolkit.serving.server import Server

pytestmark = [pytest.mark.triton, pytest.mark.tools, pytest.mark.timeout(300)]

REQUESTS, TOKENS = 12, 32
TEMPLATE = """{"text_input": {{ text|tojson }}, "max_tokens": {{ max_tokens }}, "stream": true,
"ignore_eos": true, "exclude_input_in_output": true}"""


def test_its_records_are_what_the_server_counted(
    server: Server, bundle: Bundle, tool: Callable[[str, str], Tool]
) -> None:
    aiperf = tool("aiperf", "bin/aiperf")
    (aiperf.work / "payload.j2").write_text(TEMPLATE)
    before = Counts.of(server)
    ended = aiperf.run(
        *f"profile -m {server.model_name} --endpoint-type template --streaming --ui simple".split(),
        *f"--url {server.http_url} --endpoint /v2/models/{server.model_name}/generate_stream".split(),
        *f"--tokenizer {bundle.tokenizer_dir} --concurrency 4 --request-count {REQUESTS}".split(),
        *f"--synthetic-input-tokens-mean 50 --output-tokens-mean {TOKENS} --artifact-dir out".split(),
        *["--extra-inputs", "payload_template:payload.j2", "--extra-inputs", "response_field:text_output"],
        offline=False,  # it takes a local tokenizer for one to download
    )
    assert ended.returncode == 0, ended.stdout
    counted = Counts.of(server) - before
    assert (counted.requests, counted.others) == (REQUESTS, 0)
    assert counted.output_tokens == REQUESTS * TOKENS
    lines = (aiperf.work / "out/profile_export.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == REQUESTS
    assert [record.get("error") for record in records] == [None] * REQUESTS

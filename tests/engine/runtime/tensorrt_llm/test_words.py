from __future__ import annotations

import pytest

from toolkit.engine.runtime.tensorrt_llm.words import LONGEST, failed, one_line, refused
from toolkit.errors import EngineError, RequestError


class UpstreamRequestError(RuntimeError):
    pass


UpstreamRequestError.__name__ = "RequestError"
HINT = "Shorten the prompt, or build with larger engine.max_num_tokens, engine.max_seq_len or KV memory"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n  two \t words\nStack trace:\n  at"), "two words"),
        (ValueError(""), "ValueError"),
        ("", "no reason"),
        ("x" * 500, "x" * LONGEST + "…"),
    ],
)
def test_one_line(error: Exception | str, line: str) -> None:
    assert one_line(error) == line


@pytest.mark.parametrize(
    ("error", "kind", "what", "hint"),
    [
        (ValueError("prompt should not exceed max_num_tokens (8)"), RequestError, None, HINT),
        (UpstreamRequestError("bad"), RequestError, "bad", None),
        (TypeError("bad"), RequestError, "bad", None),
        (OSError("bad"), EngineError, "TensorRT-LLM did not take the request: OSError: bad", None),
    ],
)
def test_a_request_that_was_not_taken(error: Exception, kind: type, what: str | None, hint: str | None) -> None:
    found = refused(error)
    assert (type(found), found.what, found.hint) == (kind, what or str(error), hint)


@pytest.mark.parametrize(
    ("error", "kind", "what"),
    [
        (UpstreamRequestError("KV cache capacity exceeded"), RequestError, "KV cache capacity exceeded"),
        (UpstreamRequestError("out of luck"), EngineError, "the request failed: out of luck"),
        (ValueError("max_seq_len"), EngineError, "the request failed: ValueError: max_seq_len"),
        (AssertionError(), EngineError, "the request failed: AssertionError: AssertionError"),
    ],
)
def test_a_request_that_failed(error: Exception, kind: type, what: str) -> None:
    found = failed(error)
    assert (type(found), found.what) == (kind, what)

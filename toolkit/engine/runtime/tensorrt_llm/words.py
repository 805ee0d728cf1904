"""TensorRT-LLM's errors: one line of each, and whose they are."""

from __future__ import annotations

import re

from toolkit.errors import EngineError, RequestError

LONGEST = 400
NEVER_FITS = re.compile(r"default_max_tokens|max_num_tokens|max_seq_len|kv cache (capacity|size)", re.IGNORECASE)
"""What the runtime says of a prompt that no wait makes fit (``_deduce_max_tokens``, ``_check_arguments``)."""


def one_line(error: BaseException | str) -> str:
    """The first line with words in it, without a stack trace, at most ``LONGEST`` characters."""
    lines = (" ".join(line.split()) for line in str(error).splitlines())
    text = next(filter(None, lines), "") or (type(error).__name__ if isinstance(error, BaseException) else "no reason")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def is_of_request(error: BaseException) -> bool:
    """Whether TensorRT-LLM means one request: its ``RequestError``, which several modules export."""
    return any(kind.__name__ == "RequestError" for kind in type(error).__mro__)


def refused(error: Exception) -> EngineError:
    """The error of a request that ``generate_async`` did not take."""
    if is_of_request(error) or isinstance(error, ValueError | TypeError):
        return _not_acceptable(error)
    return EngineError(f"TensorRT-LLM did not take the request: {type(error).__name__}: {one_line(error)}")


def failed(error: Exception) -> EngineError:
    """The error of a request that failed on its way."""
    if is_of_request(error):
        if NEVER_FITS.search(str(error)):
            return _not_acceptable(error)
        return EngineError(f"the request failed: {one_line(error)}")
    return EngineError(f"the request failed: {type(error).__name__}: {one_line(error)}")


def _not_acceptable(error: Exception) -> RequestError:
    hint = None
    if NEVER_FITS.search(str(error)):
        hint = "Shorten the prompt, or build with larger engine.max_num_tokens, engine.max_seq_len or KV memory"
    return RequestError(one_line(error), hint=hint)

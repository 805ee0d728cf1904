"""What no adapter can answer, refused alike by all."""

from __future__ import annotations

from toolkit.engine.runtime.protocol import Request
from toolkit.engine.runtime.sampling import validate
from toolkit.errors import RequestError


def check(request: Request, *, vocab_size: int, max_seq_len: int, eos_ids: tuple[int, ...]) -> None:
    """Raise ``RequestError`` for a prompt that is empty, too long or no tokens, and for impossible sampling."""
    length = len(request.prompt_ids)
    if not length:
        raise RequestError("the prompt is empty")
    if length >= max_seq_len:
        what = f"the prompt has {length} tokens, but prompt and output share a context of {max_seq_len}"
        raise RequestError(what, hint="Shorten it, or build with a larger engine.max_seq_len")
    if not (min(request.prompt_ids) >= 0 and max(request.prompt_ids) < vocab_size):
        outside = next(token for token in request.prompt_ids if not 0 <= token < vocab_size)
        raise RequestError(f"prompt token {outside} is outside the vocabulary of {vocab_size}")
    validate(request.sampling, vocab_size, eos_ids)

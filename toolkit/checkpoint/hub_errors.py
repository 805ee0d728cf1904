"""What a failed call to the Hub means for the person who made it: one line, and what to type next.

The Hub tells in ``X-Error-Code`` which of the cases a 401, 403 or 404 is (huggingface_hub,
``utils/_http.py: hf_raise_for_status``).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from toolkit.errors import CheckpointError, NoAnswerError

_LOG_IN = "hf auth login"
_LATER = "Type the same command again later"
_KINDS = {  # names of exception classes of requests, httpx and httpx2
    "timeout": {"Timeout", "TimeoutException"},
    "redirects": {"TooManyRedirects"},
    "broken": {
        "RemoteProtocolError",
        "ReadError",
        "RemoteDisconnected",
        "ConnectionResetError",
        "ChunkedEncodingError",
        "DecodingError",
    },
}


class PassingError(NoAnswerError):
    """A fault that may be over in a second."""


def by_hand(repo: str, revision: str | None = None) -> str:
    """The way past any trouble with the network, whichever command met it."""
    at = f" --revision {shlex.quote(revision)}" if revision else ""
    return f"Type: hf download {repo}{at} --local-dir DIR, then use DIR"


def shown(url: str) -> str:
    """A URL, or what was to be one, without the user and password in it."""
    return re.sub(r"//.*@", "//", url)


def endpoint(where: str) -> str:
    """The Hub's address, ``HF_ENDPOINT`` respected; ``CheckpointError`` where that is no URL or the token is none."""
    from huggingface_hub import constants, get_token

    url = str(constants.ENDPOINT)
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise CheckpointError(f"HF_ENDPOINT is {shown(url)!r}, not a URL", where=where, hint="Type: unset HF_ENDPOINT")
    token = get_token() or ""
    if not (token.isascii() and token.isprintable()):  # the session's own error would print it
        what, hint = (
            "the Hub's token has characters that none has",
            f"Correct HF_TOKEN if it is set, or type: {_LOG_IN}",
        )
        raise CheckpointError(what, where=where, hint=hint)
    return url


def refused(
    repo: str, status: int, headers: Mapping[str, str], *, where: str, revision: str | None = None
) -> CheckpointError:
    """The error for an answer of ``status`` 400 and above; ``NoAnswerError`` where asking again may give one.

    It is a ``PassingError`` unless the Hub itself says to wait longer.
    """
    from huggingface_hub import constants

    site = shown(str(constants.ENDPOINT))
    page = f"{site}/{repo}"
    code, message = headers.get("X-Error-Code", ""), headers.get("X-Error-Message", "")
    if code == "GatedRepo":
        what = "the repository is gated: its licence has to be accepted first"
        hint = f"Accept it at {page}, then type: {_LOG_IN}"
    elif code == "RevisionNotFound":
        what, hint = f"there is no revision {revision!r}", f"See the branches at {page}/tree/main"
    elif code == "EntryNotFound":
        what, hint = "the file is missing in the repository", f"See its files at {page}/tree/main"
    elif status == 401 and message == "Invalid credentials in Authorization header":
        what, hint = "the Hub does not know the token", f"Correct HF_TOKEN if it is set, or type: {_LOG_IN}"
    elif code == "RepoNotFound" or status in (401, 404):
        what = f"the Hub has no such repository, or it is private ({status})"
        hint = f"Check the name at {page}; for a private one type: {_LOG_IN}"
    elif status == 403:
        what = "the repository is disabled" if "disabled" in message else "the token may not read it (403)"
        hint = f"See {page}" if "disabled" in message else f"Allow the token to read it at {site}/settings/tokens"
    elif status == 429:
        what, hint = "the Hub answers that there were too many requests (429)", _after(headers)
    elif status >= 500:
        what, hint = f"the Hub has a fault of its own ({status})", _LATER
    else:
        what, hint = f"the Hub refuses the request ({status})", by_hand(repo, revision)
    if status != 429 and status < 500:
        return CheckpointError(what, where=where, hint=hint)
    return (NoAnswerError if _seconds(headers) else PassingError)(what, where=where, hint=hint)


def _after(headers: Mapping[str, str]) -> str:
    seconds = _seconds(headers)
    when = f"Type the same command again in {seconds} s" if seconds else _LATER
    return f"{when}, or log in for a higher limit: {_LOG_IN}"


def _seconds(headers: Mapping[str, str]) -> int:
    """From ``Retry-After: 30`` or, of the Hub's own, ``ratelimit: "api";r=0;t=30``; 0 where neither is there."""
    for header, pattern in (("Retry-After", r"\s*(\d{1,6})\s*"), ("ratelimit", r".*;\s*t\s*=\s*(\d{1,6})\s*")):
        if match := re.fullmatch(pattern, headers.get(header, "")):
            return int(match[1])
    return 0


def unreachable(
    repo: str, error: Exception, *, where: str, revision: str | None = None, url: str = ""
) -> NoAnswerError:
    """The error for a call that got no answer, or half of one; ``PassingError`` where it was broken off.

    ``url`` is whom the call went to, where the error itself may not know it.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        what, hint = "the Hub may not be asked: HF_HUB_OFFLINE is set", "Type: unset HF_HUB_OFFLINE"
        return NoAnswerError(what, where=where, hint=hint)
    chain = tuple(_chain(error))
    names = {base.__name__ for link in chain for base in type(link).__mro__}
    kind = next((kind for kind, known in _KINDS.items() if names & known), None)
    server = _server(error, url)
    if kind == "timeout":
        what = f"{server} did not answer within {constants.HF_HUB_DOWNLOAD_TIMEOUT} s"
        hint = "Type the same command again, or set HF_HUB_DOWNLOAD_TIMEOUT to more seconds"
    elif kind == "redirects":
        what, hint = f"{server} redirects in a circle", "Check HF_ENDPOINT and the proxy"
    elif kind == "broken":
        what, hint = f"{server} broke off its answer", "Type the same command again"
        return PassingError(what, where=where, hint=hint)
    else:
        said = [link.strerror for link in chain if isinstance(link, OSError) and link.strerror]
        what = f"{server} cannot be reached ({said[-1] if said else shown(_first_line(error))})"
        hint = f"Check the network, the proxy and HF_ENDPOINT, or elsewhere t{by_hand(repo, revision)[1:]}"
    return NoAnswerError(what, where=where, hint=hint)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _server(error: Exception, asked: str) -> str:
    """Whom the failed call went to: the Hub, or the storage that it had redirected to."""
    from huggingface_hub import constants

    try:
        request = getattr(error, "request", None)
    except RuntimeError:  # httpx, where the error has none
        request = None
    url = urlsplit(str(getattr(request, "url", "") or asked or constants.ENDPOINT))
    return shown(f"{url.scheme}://{url.netloc}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

"""What a failed call means: gRPC codes and the texts of Triton's error messages → ``ClientError``."""

from __future__ import annotations

import grpc

from toolkit.errors import BusyError, ClientError, ConnectError, DeadlineError, StoppingError, UnavailableError
from toolkit.serving.tensors import QUEUE_FULL

SERVE = "Type: trtkit serve RECIPE"
# Triton's own words (2.51) for a full queue of its dynamic batcher, a request that waited there too long, a model that
# is unloading or not loaded, and one whose process is dead
_BUSY = (QUEUE_FULL, "Exceeds maximum queue size", "Request timeout expired")
_STOPPING = "has no available versions"
_DEAD = "is not healthy"
_GONE_HINT = "The server is stopping, or its model died: see its log"
_LOST = ("Socket closed", "Stream removed", "Connection reset", "Broken pipe", "GOAWAY", "Too many pings")
# what grpc.aio says, with the code INTERNAL, when the connection went while a request was being written
_CUT = "Internal error from Core"
_TLS = ("handshake", "certificate", "SSL", "Ssl")


def error_from(code: grpc.StatusCode, details: str | None, url: str) -> ClientError:
    """The error that a failed RPC to ``url`` stands for."""
    text = one_line(details or code.name.lower())
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(text, where=url)
    if code is grpc.StatusCode.UNAUTHENTICATED or code is grpc.StatusCode.PERMISSION_DENIED:
        return ClientError(f"access denied: {text}", where=url, hint="Give credentials: --header NAME=VALUE")
    if code is grpc.StatusCode.INTERNAL and text == _CUT:
        return UnavailableError("the server went away", where=url, hint=SERVE)
    if code is not grpc.StatusCode.UNAVAILABLE:
        return error_from_text(text)
    if any(word in text for word in _BUSY):
        return BusyError(text, where=url)
    if "lookup" in text or "resolution" in text:
        return UnavailableError("no such host", where=url, hint="Give HOST:PORT")
    if any(word in text for word in _TLS):
        return UnavailableError(f"no TLS connection: {_cause(text)}", where=url, hint="Check --tls and its files")
    if "failed to connect" in text:
        return _not_connected(text, url)
    if any(word in text for word in _LOST):
        return UnavailableError("the server went away", where=url, hint=SERVE)
    return UnavailableError(text, where=url)


def error_from_text(text: str) -> ClientError:
    """Triton's error messages carry no code; some of them mean that another server, or this one later, may answer."""
    line = one_line(text)
    if any(line.startswith(word) for word in _BUSY):
        return BusyError(line)
    if _STOPPING in line:
        return StoppingError(line, hint=_GONE_HINT)
    if _DEAD in line:
        return UnavailableError(line, hint=_GONE_HINT)
    return ClientError(line)


def one_line(text: str) -> str:
    return " ".join(text.split())


def _not_connected(text: str, url: str) -> UnavailableError:
    """The port is closed, or what listens there speaks something else than this connection."""
    if any(word in text for word in (*_LOST, "SETTINGS")):
        what = f"something listens there, but no gRPC: {_cause(text)}"
        return UnavailableError(what, where=url, hint="Check the port, and whether the server wants --tls")
    return ConnectError("nothing serves there", where=url, hint=SERVE)


def _cause(text: str) -> str:
    """What follows the addresses in gRPC's words."""
    return text.rpartition("last error: ")[2]

from __future__ import annotations

import grpc
import pytest

from toolkit.errors import BusyError, ClientError, ConnectError, DeadlineError, StoppingError, UnavailableError
from toolkit.serving.failures import error_from, error_from_text

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect (refused)"
HTTP = "failed to connect to all addresses; last error: INTERNAL: ipv4:1.2.3.4:1: Expected SETTINGS frame"


@pytest.mark.parametrize(
    ("code", "details", "kind", "said"),
    [
        (UNAVAILABLE, "refused\n", UnavailableError, "h:1: refused"),
        (UNAVAILABLE, REFUSED, ConnectError, "h:1: nothing serves there. Type: trtkit serve RECIPE"),
        (
            UNAVAILABLE,
            HTTP,
            UnavailableError,
            "h:1: something listens there, but no gRPC: INTERNAL: ipv4:1.2.3.4:1: Expected SETTINGS frame. "
            "Check the port, and whether the server wants --tls",
        ),
        (
            UNAVAILABLE,
            "failed to connect to all addresses; last error: UNKNOWN: Tls handshake failed: CERTIFICATE_VERIFY_FAILED",
            UnavailableError,
            "h:1: no TLS connection: UNKNOWN: Tls handshake failed: CERTIFICATE_VERIFY_FAILED. "
            "Check --tls and its files",
        ),
        (
            UNAVAILABLE,
            "DNS resolution failed for h:1: Could not contact DNS servers",
            UnavailableError,
            "h:1: no such host. Give HOST:PORT",
        ),
        (
            UNAVAILABLE,
            "Stream removed (Socket closed)",
            UnavailableError,
            "h:1: the server went away. Type: trtkit serve RECIPE",
        ),
        (UNAVAILABLE, "Exceeds maximum queue size", BusyError, "h:1: Exceeds maximum queue size"),
        (
            grpc.StatusCode.UNAUTHENTICATED,
            "no token",
            ClientError,
            "h:1: access denied: no token. Give credentials: --header NAME=VALUE",
        ),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "late", DeadlineError, "h:1: late"),
        (grpc.StatusCode.CANCELLED, None, ClientError, "cancelled"),
        (
            grpc.StatusCode.INTERNAL,
            "Internal error from Core",
            UnavailableError,
            "h:1: the server went away. Type: trtkit serve RECIPE",
        ),
        (grpc.StatusCode.INTERNAL, "another one", ClientError, "another one"),
    ],
)
def test_failed_rpc(code: grpc.StatusCode, details: str | None, kind: type[ClientError], said: str) -> None:
    error = error_from(code, details, "h:1")
    assert (type(error), str(error)) == (kind, said)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("the queue is full: 3 requests are running or waiting", BusyError),
        ("Exceeds maximum queue size", BusyError),
        ("Request for unknown model: 'm' has no available versions", StoppingError),
        ("Stub process 'm_0_0' is not healthy.", UnavailableError),
        ("input 'top_p' is 2.0\n  and must be less", ClientError),
    ],
)
def test_error_message_becomes_one_line_of_its_kind(said: str, kind: type[ClientError]) -> None:
    error = error_from_text(said)
    assert (type(error), error.what) == (kind, " ".join(said.split()))
    assert error.hint == (
        "The server is stopping, or its model died: see its log" if kind in (StoppingError, UnavailableError) else None
    )

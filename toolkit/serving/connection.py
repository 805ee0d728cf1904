"""How a client is connected: channel options, TLS, headers, and how often it tries."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from toolkit.errors import ClientError

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    # after a refused connection gRPC fails every call until it tries again: by default that is up to 120 s
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)
KEEPALIVE_MIN_S = 300.0
_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[ -~]*")


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM bytes. Without ``root`` gRPC's own certificates are trusted; key and certificate are the client's."""

    root: bytes | None = None
    key: bytes | None = None
    certificate: bytes | None = None

    @classmethod
    def read(cls, root: Path | None = None, key: Path | None = None, certificate: Path | None = None) -> Tls:
        """Read PEM files. Raises ``ClientError`` that names the file that is none."""
        if (key is None) != (certificate is None):
            raise ClientError("a client key and its certificate go together", hint="Give both, or neither")
        pem = [None if path is None else path.read_bytes() for path in (root, key, certificate)]
        context = ssl.create_default_context()
        if root is not None:
            _check(root, lambda: context.load_verify_locations(root), "holds no TLS certificates")
        if certificate is not None:
            # an encrypted key would ask for its password at the terminal
            load = partial(context.load_cert_chain, certificate, key, password="")
            _check(certificate, load, "is no certificate, or not that of the key, or the key is encrypted")
        return cls(*pem)

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.root, self.key, self.certificate)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a request is tried that no connection took, or whose server's queue was full; 1 is never again.

    The n-th pause is drawn between 0 and ``first_s`` · 2ⁿ⁻¹ seconds, at most ``longest_s`` ("full jitter").
    """

    attempts: int = 1
    first_s: float = 0.2
    longest_s: float = 5.0

    def pause_s(self, failures: int, drawn: float) -> float:
        """After the ``failures``-th failure; ``drawn`` is from [0, 1)."""
        return drawn * min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 32))


def keepalive(seconds: float | None) -> tuple[tuple[str, Any], ...]:
    """Channel options for a ping every ``seconds``, none for None. Raises ``ClientError`` below 300 s.

    A server with default settings ends a stream that was silent for three pings, unless they are 300 s apart.
    """
    if seconds is None:
        return ()
    if not seconds >= KEEPALIVE_MIN_S:
        raise ClientError(f"a keepalive of {seconds:g} s makes servers end silent streams", hint="Give 300 s or more")
    return (("grpc.keepalive_time_ms", int(seconds * 1000)), ("grpc.http2.max_pings_without_data", 0))


def metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """gRPC metadata of ``headers``; names are lower-cased. Raises ``ClientError`` for what HTTP/2 does not carry."""
    pairs = tuple((name.lower(), value) for name, value in headers.items())
    for name, value in pairs:
        if not _NAME.fullmatch(name) or name.startswith("grpc-") or name.endswith("-bin"):
            raise ClientError(f"{name!r} cannot be the name of a header")
        if not _VALUE.fullmatch(value):
            raise ClientError(f"the value of header {name!r} is not printable ASCII")
    return pairs


def _check(path: Path, load: Callable[[], None], otherwise: str) -> None:
    try:
        load()
    except (ssl.SSLError, ValueError):
        raise ClientError(otherwise, where=str(path)) from None

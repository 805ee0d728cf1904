"""Choose the server's ports before it starts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from contextlib import ExitStack

from toolkit.errors import ServerError


def resolve(host: str) -> str:
    """The IPv4 address of ``host`` in numbers: Triton's HTTP server takes nothing else, and says nothing about it."""
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET)[0][4][0])
    except (OSError, UnicodeError):
        hint = "Set serve.host to an IPv4 address of this machine"
        raise ServerError(f"{host!r} has no IPv4 address", where="serve.host", hint=hint) from None


def choose(host: str, wanted: Mapping[str, int]) -> dict[str, int]:
    """A bindable port for each name; 0 picks a free one.

    Nothing holds the ports afterwards, so another process may still take one. Raises ``ServerError`` that names a given
    port which is in use.
    """
    with ExitStack() as held:
        return {name: _bind(held, host, name, port) for name, port in wanted.items()}


def _bind(held: ExitStack, host: str, name: str, port: int) -> int:
    sock = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    # a port that only old connections linger on can be listened on
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(1)
    except OSError as error:
        taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
        free, address = f"--set serve.{name}_port=0 picks a free one", "Set serve.host to an address of this machine"
        raise ServerError(
            f"cannot bind {name} port {port} on {host}: {(error.strerror or str(error)).lower()}",
            hint=free if taken else address,
        ) from None
    return int(sock.getsockname()[1])

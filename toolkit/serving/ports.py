"""Choose the server's ports before it starts."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack

from toolkit.errors import ServerError


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
        raise ServerError(
            f"cannot bind {name} port {port} on {host}: {(error.strerror or str(error)).lower()}",
            hint=f"--set serve.{name}_port=0 picks a free one",
        ) from None
    return int(sock.getsockname()[1])

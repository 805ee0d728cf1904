from __future__ import annotations

import socket
from contextlib import closing

import pytest

from toolkit.errors import ServerError
from toolkit.serving import ports

HOST = "127.0.0.1"


def test_free_ports_are_distinct_and_free_afterwards() -> None:
    chosen = ports.choose(HOST, {"grpc": 0, "http": 0, "metrics": 0})
    assert list(chosen) == ["grpc", "http", "metrics"]
    assert len(set(chosen.values())) == 3
    for port in chosen.values():
        socket.create_server((HOST, port)).close()


def test_given_port_is_kept() -> None:
    with closing(socket.create_server((HOST, 0))) as held:
        port = held.getsockname()[1]
    assert ports.choose(HOST, {"grpc": port, "http": 0})["grpc"] == port


def test_port_in_use_is_named() -> None:
    with closing(socket.create_server((HOST, 0))) as held:
        port = held.getsockname()[1]
        with pytest.raises(ServerError) as caught:
            ports.choose(HOST, {"http": 0, "metrics": port})
    assert str(caught.value) == (
        f"cannot bind metrics port {port} on 127.0.0.1: address already in use. "
        "--set serve.metrics_port=0 picks a free one"
    )


def test_one_port_twice_is_refused() -> None:
    with closing(socket.create_server((HOST, 0))) as held:
        port = held.getsockname()[1]
    with pytest.raises(ServerError, match=f"cannot bind http port {port}"):
        ports.choose(HOST, {"grpc": port, "http": port})


def test_address_of_another_machine() -> None:
    with pytest.raises(ServerError, match=r"cannot bind grpc port 0 on 192\.0\.2\.1: cannot assign requested address"):
        ports.choose("192.0.2.1", {"grpc": 0})

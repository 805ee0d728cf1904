from __future__ import annotations

from typing import Any

import pytest

from tests.preflight.made_up import GIB, machine, needs
from toolkit.preflight import checks_host
from toolkit.preflight.finding import Finding, size
from toolkit.preflight.machine import Limits, Part, Storage
from toolkit.preflight.needs import CPU_SHM

MIB = 1 << 20
SHM_SIZE = "Start the container with --shm-size=8g, or with --ipc=host"


def store(total: int = 900 * GIB, free: int = 500 * GIB, writable: bool = True, device: int = 2) -> Storage:
    return Storage("/place", total, free, writable, device)


@pytest.mark.parametrize(
    ("shm", "asked", "finding"),
    [
        (store(2 * GIB, 2 * GIB), {}, Finding("shm", "ok", "2.0 GiB of 2.0 GiB free in /dev/shm")),
        (
            store(64 * MIB, 64 * MIB),
            {},
            Finding("shm", "fail", "/dev/shm has 64 MiB, and 1.0 GiB are needed", SHM_SIZE),
        ),
        (store(64 * MIB, 64 * MIB), {"shm": CPU_SHM}, Finding("shm", "ok", "64 MiB of 64 MiB free in /dev/shm")),
        (
            store(8 * GIB, 10 * MIB),
            {},
            Finding(
                "shm",
                "warn",
                "10 MiB of 8.0 GiB free in /dev/shm, and 1.0 GiB are needed",
                "Type: ls -l /dev/shm, and remove what dead servers left there",
            ),
        ),
        (
            store(writable=False),
            {},
            Finding("shm", "fail", "/dev/shm takes no file", "Mount it writable: --tmpfs /dev/shm:rw,size=8g"),
        ),
        (None, {}, Finding("shm", "fail", "there is no /dev/shm", SHM_SIZE)),
    ],
)
def test_shm(shm: Storage | None, asked: dict[str, Any], finding: Finding) -> None:
    assert checks_host.shm(needs(**asked), machine(shm=shm)) == finding


def test_limits_of_a_container_that_was_given_them() -> None:
    asked = machine(limits=Limits(None, None, None))
    assert [checks_host.memlock(asked), checks_host.stack(asked), checks_host.nofile(asked)] == [
        Finding("memlock", "ok", "unlimited"),
        Finding("stack", "ok", "unlimited"),
        Finding("nofile", "ok", "unlimited"),
    ]


def test_limits_of_a_login_shell() -> None:
    asked = machine(limits=Limits(64 * 1024, 8 * MIB, 1024))
    assert [checks_host.memlock(asked), checks_host.stack(asked), checks_host.nofile(asked)] == [
        Finding("memlock", "warn", "64 KiB, unlimited is the norm", "docker run --ulimit memlock=-1"),
        Finding("stack", "warn", "8 MiB, 64 MiB is the norm", "docker run --ulimit stack=67108864"),
        Finding(
            "nofile",
            "warn",
            "1,024 open files, a server takes more under load",
            "docker run --ulimit nofile=65536, or: ulimit -n 65536",
        ),
    ]


def test_limits_that_are_just_enough() -> None:
    asked = machine(limits=Limits(None, 64 * MIB, 65536))
    assert [checks_host.stack(asked).status, checks_host.nofile(asked).status] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("found", "asked", "finding"),
    [
        ({}, {}, Finding("disk", "ok", "500.0 GiB free at /work; the bundle takes 64.0 GiB")),
        (
            {"output": store(free=100 * GIB), "cached": False},
            {},
            Finding(
                "disk",
                "fail",
                "100.0 GiB free at /place, and bundle and download take 127.0 GiB",
                "--set engine.output=DIR, a folder with more room",
            ),
        ),
        (
            {"output": store(free=100 * GIB, device=9), "cached": False},
            {},
            Finding("disk", "ok", "100.0 GiB free at /place; the bundle takes 64.0 GiB"),
        ),
        (
            {"output": store(free=100 * GIB), "cached": False, "cache": None},
            {"repo": None},
            Finding("disk", "ok", "100.0 GiB free at /place; the bundle takes 64.0 GiB"),
        ),
        ({"output": store(free=0), "has_bundle": True}, {}, Finding("disk", "ok", "the bundle is at build/bundle")),
        (
            {"output": store(writable=False)},
            {},
            Finding("disk", "fail", "/place takes no file", "--set engine.output=DIR, a folder of yours"),
        ),
        (
            {},
            {"output_bytes": None},
            Finding("disk", "skip", "500.0 GiB free at /work; without a plan the need is unknown"),
        ),
    ],
)
def test_disk(found: dict[str, Any], asked: dict[str, Any], finding: Finding) -> None:
    assert checks_host.disk(needs(**asked), machine(**found)) == finding


def test_a_download_of_unknown_size() -> None:
    asked, found = needs(fetch_bytes=None), machine(cached=False, cache=store(free=1), output=store(free=70 * GIB))
    assert checks_host.cache(asked, found) == Finding("cache", "ok", "0 KiB free at /place")
    assert checks_host.disk(asked, found).status == "ok"
    assert checks_host.checkpoint(asked, found) == Finding(
        "checkpoint", "warn", f"{HUB} is not in the cache", "trtkit engine gpt-oss-120b/b200 --fetch does it first"
    )


HUB = "hub:owner/gpt-oss-120b-nvfp4"


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        ({"cached": True}, Finding("checkpoint", "ok", f"{HUB} is in the cache")),
        (
            {"has_bundle": True, "offline": True},
            Finding("checkpoint", "ok", f"{HUB} is not in the cache, and the bundle needs it no more"),
        ),
        (
            {"offline": True},
            Finding(
                "checkpoint",
                "fail",
                f"{HUB} is not in the cache, and HF_HUB_OFFLINE is set",
                "Type: unset HF_HUB_OFFLINE, or copy the checkpoint here and add --set checkpoint.path=DIR",
            ),
        ),
        (
            {},
            Finding(
                "checkpoint",
                "warn",
                f"{HUB} is not in the cache: 63.0 GiB to download",
                "trtkit engine gpt-oss-120b/b200 --fetch does it first",
            ),
        ),
    ],
)
def test_checkpoint(found: dict[str, Any], finding: Finding) -> None:
    assert checks_host.checkpoint(needs(), machine(**{"cached": False, **found})) == finding


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        ({}, Finding("cache", "ok", "500.0 GiB free at /cache/hub")),
        ({"cached": True}, Finding("cache", "skip", "nothing to download")),
        ({"has_bundle": True}, Finding("cache", "skip", "nothing to download")),
        (
            {"cache": store(writable=False)},
            Finding("cache", "fail", "/place takes no file", "Set HF_HOME to a folder of yours"),
        ),
        (
            {"cache": store(free=10 * GIB)},
            Finding(
                "cache",
                "fail",
                "10.0 GiB free at /place, and the download takes 63.0 GiB",
                "Set HF_HOME to a folder with more room",
            ),
        ),
    ],
)
def test_cache(found: dict[str, Any], finding: Finding) -> None:
    assert checks_host.cache(needs(), machine(**{"cached": False, **found})) == finding


def test_ports() -> None:
    assert checks_host.ports(machine()) == Finding("ports", "ok", "grpc 8001 free on 127.0.0.1")
    taken = machine(ports=Part(problem="cannot bind grpc port 8001", fix="--set serve.grpc_port=0 picks a free one"))
    assert checks_host.ports(taken) == Finding(
        "ports", "fail", "cannot bind grpc port 8001", "--set serve.grpc_port=0 picks a free one"
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 KiB"),
        (65536, "64 KiB"),
        (MIB, "1 MiB"),
        (1023 * MIB, "1,023 MiB"),
        (GIB, "1.0 GiB"),
        (1500 * GIB, "1,500.0 GiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("fix", "given"), [("chmod", "chmod"), (None, "Set HF_HOME to a folder of yours")])
def test_a_cache_that_cannot_be_read(fix: str | None, given: str) -> None:
    found = machine(cached=False, unread=Part(problem="/cache: cannot be read", fix=fix))
    assert checks_host.cache(needs(), found) == Finding("cache", "fail", "/cache: cannot be read", given)
    assert checks_host.checkpoint(needs(), found) == Finding(
        "checkpoint", "skip", "whether hub:owner/gpt-oss-120b-nvfp4 is in the cache is not known"
    )

"""What a container runs: check, then Triton on the mounted bundle with its admin calls closed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from toolkit import recipe as recipes
from toolkit.deploy.deployment import PORTS, TMP
from toolkit.deploy.follow import Follower
from toolkit.deploy.startup import check, open_mounted
from toolkit.engine.bundle import RECIPE
from toolkit.serving.server import serve_bundle

ADMIN = ("model-repository", "shared-memory", "trace", "logging")
"""Protocols of Triton that are open to every client by default; none is needed to generate."""
REPOSITORY = Path("trtkit") / "triton_repo"


def serve(
    folder: Path,
    *,
    overrides: Iterable[str] = (),
    identity: str | None = None,
    timeout_s: float,
    say: Callable[[str], None],
) -> None:
    """Serve the bundle at ``folder`` on the container's ports until interrupted; then its streams drain.

    ``overrides`` are ``serve.*`` keys; ``say`` gets Triton's log and what happens, line by line. Raises ``DeployError``
    for what the container lacks, before anything is loaded, and what ``serve_bundle`` and ``Server.wait`` raise.
    """
    bundle = open_mounted(folder, identity)
    repository = Path(os.environ.get("TMPDIR", TMP)) / REPOSITORY
    place = ["serve.host=0.0.0.0", f"serve.repository={repository}"]
    ports = [f"serve.{name}_port={port}" for name, port in PORTS.items()]
    recipe = recipes.load(bundle.folder / RECIPE, (*place, *ports, *overrides))
    check(recipe, bundle)
    say(f"{recipe.name}: checked, loading bundle {bundle.manifest['identity'][:12]}")
    with Follower(repository.with_name(f"{repository.name}.log"), say):
        server = serve_bundle(recipe, bundle, timeout_s=timeout_s, options=closed_admin())
        with server:
            say(f"ready: grpc {server.grpc_url}, http {server.http_url}, metrics {server.metrics_url}")
            server.wait()


def closed_admin() -> list[str]:
    """Options of tritonserver after which admin calls need a key, and nobody is told it."""
    key = f"{','.join(ADMIN)}:trtkit-admin={secrets.token_hex(16)}"
    return [f"--grpc-restricted-protocol={key}", f"--http-restricted-api={key}"]

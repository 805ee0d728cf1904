"""``trtkit serve``: start Triton on a recipe's bundle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolkit.cli.common import (
    URL_VARIABLE,
    Seconds,
    json_option,
    load_recipe,
    recipe_argument,
    set_option,
    terminated_as_interrupted,
)

if TYPE_CHECKING:
    from toolkit.serving.server import Server

INTERRUPTED = 130
POLL_S = 0.5
GRACE_S = 10
"""Seconds that an interrupted COMMAND has to clean up."""


@click.command()
@recipe_argument
@click.argument("argv", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@set_option
@json_option
@click.option("--timeout", "timeout_s", type=Seconds(min=1), default=600.0, show_default=True, help="Seconds.")
@click.pass_context
def command(
    ctx: click.Context,
    recipe_path: Path,
    argv: tuple[str, ...],
    overrides: tuple[str, ...],
    as_json: bool,
    timeout_s: float,
) -> None:
    """Serve RECIPE's engine bundle until Ctrl-C or SIGTERM, or while COMMAND runs.

    Renders the model repository afresh, starts Triton and prints its addresses once it has generated a token. Nothing
    is built: the bundle at engine.output must exist. Triton's log stands beside the repository. COMMAND finds the gRPC
    address in $TRTKIT_URL, where `trtkit generate` and `trtkit bench run` look for it; its exit code is returned.

    \b
    Example:
      trtkit serve recipes/tiny-gpt-oss/cpu.yaml --set serve.grpc_port=8001
      trtkit serve recipes/tiny-gpt-oss/cpu.yaml -- trtkit generate "The file object"
    """
    from toolkit.engine.bundle import Bundle
    from toolkit.serving.server import serve_bundle

    recipe = load_recipe(recipe_path, overrides)
    bundle = Bundle.open_for(recipe)
    click.echo("starting Triton", err=True)
    code = INTERRUPTED
    with terminated_as_interrupted():
        try:
            with serve_bundle(recipe, bundle, timeout_s=timeout_s) as server:
                if argv:
                    code = _run(argv, server)
                else:
                    code = 0
                    _announce(server, as_json)
                    server.wait()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
    ctx.exit(code)


def _announce(server: Server, as_json: bool) -> None:
    urls = {"grpc": server.grpc_url, "http": server.http_url, "metrics": server.metrics_url}
    if as_json:
        # one line, so that a reader of the pipe knows when it is whole
        click.echo(json.dumps({"model": server.model_name, **urls, "pid": server.pid}))
        return
    for name, url in urls.items():
        click.echo(f"{name:<8} {url}")
    click.echo("ready; Ctrl-C stops it")


def _run(argv: tuple[str, ...], server: Server) -> int:
    """Run ``argv`` while the server lives; its exit code, as a shell gives it. An interrupt ends all it started."""
    environment = {**os.environ, URL_VARIABLE: server.grpc_url}
    try:
        child = subprocess.Popen(argv, env=environment, start_new_session=True)
    except OSError as error:
        raise click.UsageError(f"cannot run {argv[0]!r}: {error.strerror}") from None
    try:
        while (code := child.poll()) is None:
            server.check()
            with suppress(subprocess.TimeoutExpired):
                child.wait(POLL_S)
    except BaseException:
        _end(child)
        raise
    return 128 - code if code < 0 else code


def _end(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)

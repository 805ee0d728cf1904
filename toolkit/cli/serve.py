"""``trtkit serve``: start Triton on a recipe's bundle."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolkit.cli.common import (
    URL_VARIABLE,
    json_option,
    load_recipe,
    recipe_argument,
    set_option,
    terminated_as_interrupted,
)

if TYPE_CHECKING:
    from toolkit.recipe import Recipe
    from toolkit.serving.server import Server


@click.command()
@recipe_argument
@click.argument("argv", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@set_option
@json_option
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=600.0, show_default=True, help="Seconds.")
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
    recipe = load_recipe(recipe_path, overrides)
    code = 0
    with terminated_as_interrupted():
        try:
            with _start(recipe, timeout_s) as server:
                if argv:
                    code = _run(argv, server)
                else:
                    _announce(server, as_json)
                    server.wait()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
    ctx.exit(code)


def _start(recipe: Recipe, timeout_s: float) -> Server:
    from toolkit.engine.bundle import Bundle
    from toolkit.serving.repository import render
    from toolkit.serving.server import Server

    serve = recipe.serve
    repository = render(
        Bundle.open(recipe.engine.output),
        serve.repository,
        model_name=serve.model_name,
        max_queue_size=serve.max_queue_size,
    )
    click.echo("starting Triton", err=True)
    return Server.start(
        repository,
        host=serve.host,
        grpc_port=serve.grpc_port,
        http_port=serve.http_port,
        metrics_port=serve.metrics_port,
        model_name=serve.model_name,
        log_path=repository.with_name(f"{repository.name}.log"),
        timeout_s=timeout_s,
    )


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
    try:
        return subprocess.run(argv, env={**os.environ, URL_VARIABLE: server.grpc_url}).returncode
    except OSError as error:
        raise click.UsageError(f"cannot run {argv[0]!r}: {error.strerror}") from None

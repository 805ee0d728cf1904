"""``trtkit serve``: start Triton on a recipe's bundle."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import FrameType

import click

from toolkit.cli.common import json_option, load_recipe, recipe_argument, set_option


@click.command()
@recipe_argument
@set_option
@json_option
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=600.0, show_default=True, help="Seconds.")
def command(recipe_path: Path, overrides: tuple[str, ...], as_json: bool, timeout_s: float) -> None:
    """Serve RECIPE's engine bundle until Ctrl-C or SIGTERM.

    Renders the model repository afresh, starts Triton and prints its addresses once it has generated a token. Nothing
    is built: the bundle at engine.output must exist. Triton's log stands beside the repository.

    \b
    Example:
      trtkit serve recipes/tiny-gpt-oss/cpu.yaml --set serve.grpc_port=8001
    """
    from toolkit.engine.bundle import Bundle
    from toolkit.serving.repository import render
    from toolkit.serving.server import Server

    # SIGTERM ends like Ctrl-C, so that the server is stopped on the way out
    signal.signal(signal.SIGTERM, _interrupt)
    recipe = load_recipe(recipe_path, overrides)
    serve = recipe.serve
    repository = render(
        Bundle.open(recipe.engine.output),
        serve.repository,
        model_name=serve.model_name,
        max_queue_size=serve.max_queue_size,
    )
    click.echo("starting Triton", err=True)
    try:
        with Server.start(
            repository,
            host=serve.host,
            grpc_port=serve.grpc_port,
            http_port=serve.http_port,
            metrics_port=serve.metrics_port,
            model_name=serve.model_name,
            log_path=repository.with_name(f"{repository.name}.log"),
            timeout_s=timeout_s,
        ) as server:
            urls = {"grpc": server.grpc_url, "http": server.http_url, "metrics": server.metrics_url}
            if as_json:
                # one line, so that a reader of the pipe knows when it is whole
                click.echo(json.dumps({"model": serve.model_name, **urls, "pid": server.pid}))
            else:
                click.echo("".join(f"{name:<8} {url}\n" for name, url in urls.items()), nl=False)
                click.echo("ready; Ctrl-C stops it")
            server.wait()
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

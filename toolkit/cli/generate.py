"""``trtkit generate``: stream one completion from a server or from the bundle itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli import target
from toolkit.cli.common import echo_json, json_option, set_option

if TYPE_CHECKING:
    from toolkit.serving.client import TritonClient
    from toolkit.serving.completion import Completion
    from toolkit.serving.local import LocalModel


@click.command()
@click.argument("prompt")
@click.option("--url", help="Generate on the Triton server at HOST:PORT (gRPC); by default $TRTKIT_URL.")
@click.option("--model", default="tensorrt_llm", show_default=True, help="Model name on that server.")
@click.option("--local", "recipe_path", metavar="RECIPE", type=target.FILE, help="Generate without a server.")
@set_option
@target.options(target.SAMPLING_OPTIONS, target.TEXT_OPTIONS, target.DEADLINE_OPTIONS, target.CONNECTION_OPTIONS)
@click.option("--retries", type=click.IntRange(min=0), default=0, help="Try again so often while nothing took it.")
@click.option("--request-id", help="Send this request id, for the server's log.")
@json_option
def command(
    prompt: str,
    url: str | None,
    model: str,
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    stop: tuple[str, ...],
    keep_special_tokens: bool,
    retries: int,
    request_id: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Stream the completion of PROMPT to stdout; a PROMPT of - is read from stdin.

    The server's model may be trtkit's, or NVIDIA's llmapi or ensemble model.

    \b
    Example:
      trtkit generate "The file object" --url 127.0.0.1:8001 --max-tokens 32
      trtkit generate "The file object" --local recipes/tiny-gpt-oss/cpu.yaml --json
    """
    import asyncio
    from dataclasses import asdict

    from toolkit.engine.runtime.protocol import SamplingParams
    from toolkit.serving.completion import collect

    deadlines, connection = target.deadlines(given), target.taken(given)
    of_server = {**connection, "retries": retries, "request_id": request_id}
    chosen = target.choose(url, recipe_path, overrides, of_server)
    text = _read_stdin() if prompt == "-" else prompt
    target.check_utf8("PROMPT", text)
    for words in stop:
        target.check_utf8("--stop", words)
    options: dict[str, Any] = {
        "sampling": SamplingParams(**given),
        "stop": stop,
        "deadlines": deadlines,
        "skip_special_tokens": not keep_special_tokens,
    }
    if chosen.url is not None:
        options["request_id"] = request_id

    shown = False

    def show(delta: str) -> None:
        nonlocal shown
        if not as_json:
            click.echo(delta, nl=False)
            shown = True

    async def run() -> Completion:
        async with _model(chosen, model, retries, connection) as source:
            return await collect(source.generate(text, **options), show)

    try:
        completion = asyncio.run(run())
    finally:
        if shown:
            click.echo()
    if as_json:
        echo_json(asdict(completion))


def _read_stdin() -> str:
    return sys.stdin.buffer.read().decode(errors="surrogateescape")


def _model(chosen: target.Target, model: str, retries: int, connection: dict[str, Any]) -> TritonClient | LocalModel:
    if chosen.url is not None:
        return target.connect(chosen.url, model, retries=retries, connection=connection)
    from toolkit.serving.local import LocalModel

    assert chosen.bundle is not None
    return LocalModel.open(chosen.bundle)

"""``trtkit generate``: stream one completion from a server or from the bundle itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.common import URL_VARIABLE, echo_json, json_option, load_recipe, set_option

if TYPE_CHECKING:
    from toolkit.serving.client import TritonClient
    from toolkit.serving.completion import Completion
    from toolkit.serving.local import LocalModel

SECONDS = click.FloatRange(min=0, min_open=True, max=1e6)
SAMPLING_OPTIONS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    click.option("--max-tokens", type=int, default=16, show_default=True, help="Stop after this many tokens."),
    click.option("--min-tokens", type=int, default=0, help="No end token before this many tokens."),
    click.option("--temperature", type=float, default=0.0, show_default=True, help="0 takes the most likely token."),
    click.option("--top-k", type=int, default=0, help="Keep this many most likely tokens; 0 keeps all."),
    click.option("--top-p", type=float, default=1.0, help="Keep the most likely tokens up to this probability."),
    click.option("--min-p", type=float, default=0.0, help="Keep tokens with this share of the largest probability."),
    click.option("--seed", type=int, help="Seed of the sampling."),
    click.option("--repetition-penalty", type=float, default=1.0, help="Above 1 makes known tokens less likely."),
    click.option("--presence-penalty", type=float, default=0.0, help="Subtracted from logits of generated tokens."),
    click.option("--frequency-penalty", type=float, default=0.0, help="The same, once for each time they came."),
    click.option("--stop-token-id", "stop_token_ids", type=int, multiple=True, help="End at this token; repeatable."),
    click.option("--ignore-eos", is_flag=True, help="Go on after the model's end tokens."),
    click.option("--logprobs", type=int, help="Return log-probabilities, and this many alternatives (--json)."),
)
"""One a field of ``SamplingParams``."""


def sampling_options(function: Callable[..., None]) -> Callable[..., None]:
    for decorate in reversed(SAMPLING_OPTIONS):
        function = decorate(function)
    return function


@click.command()
@click.argument("prompt")
@click.option("--url", help="Generate on the Triton server at HOST:PORT (gRPC); by default $TRTKIT_URL.")
@click.option("--model", default="tensorrt_llm", show_default=True, help="Model name on that server.")
@click.option(
    "--local", "recipe_path", metavar="RECIPE", type=click.Path(path_type=Path), help="Generate without a server."
)
@set_option
@sampling_options
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; repeatable.")
@click.option("--keep-special-tokens", is_flag=True, help="Show special tokens in the text.")
@click.option("--total-timeout", "total_s", type=SECONDS, help="Seconds for the whole generation.")
@click.option("--first-token-timeout", "first_token_s", type=SECONDS, default=120.0, show_default=True, help="Seconds.")
@click.option("--idle-timeout", "idle_s", type=SECONDS, default=30.0, show_default=True, help="Seconds between tokens.")
@json_option
def command(
    prompt: str,
    url: str | None,
    model: str,
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    stop: tuple[str, ...],
    keep_special_tokens: bool,
    total_s: float | None,
    first_token_s: float,
    idle_s: float,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Stream the completion of PROMPT to stdout; a PROMPT of - is read from stdin.

    \b
    Example:
      trtkit generate "The file object" --url 127.0.0.1:8001 --max-tokens 32
      trtkit generate "The file object" --local recipes/tiny-gpt-oss/cpu.yaml --json
    """
    import asyncio
    from dataclasses import asdict

    from toolkit.engine.runtime.protocol import SamplingParams
    from toolkit.serving.completion import collect
    from toolkit.serving.deadlines import Deadlines

    if recipe_path is None:
        if overrides:
            raise click.UsageError("--set goes with --local RECIPE.")
        url = url or os.environ.get(URL_VARIABLE)
    if (url is None) == (recipe_path is None):
        raise click.UsageError("Give exactly one of --url and --local.")
    text = _read_stdin() if prompt == "-" else prompt
    _check_utf8("PROMPT", text)
    for words in stop:
        _check_utf8("--stop", words)
    options: dict[str, Any] = {
        "sampling": SamplingParams(**sampling),
        "stop": stop,
        "deadlines": Deadlines(total_s, first_token_s, idle_s),
        "skip_special_tokens": not keep_special_tokens,
    }

    shown = False

    def show(delta: str) -> None:
        nonlocal shown
        if not as_json:
            click.echo(delta, nl=False)
            shown = True

    async def run() -> Completion:
        async with _model(url, model, recipe_path, overrides) as source:
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


def _check_utf8(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise click.UsageError(f"{name} is not UTF-8 at character {error.start}.") from None


def _model(
    url: str | None, model: str, recipe_path: Path | None, overrides: tuple[str, ...]
) -> TritonClient | LocalModel:
    if url is not None:
        from toolkit.serving.client import TritonClient

        return TritonClient(url, model=model)
    from toolkit.engine.bundle import Bundle
    from toolkit.serving.local import LocalModel

    assert recipe_path is not None
    return LocalModel.open(Bundle.open_for(load_recipe(recipe_path, overrides)))

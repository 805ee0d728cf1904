"""What the verbs that generate share: which model is asked, how it is reached, and how it samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.common import URL_VARIABLE, Seconds, load_recipe

if TYPE_CHECKING:
    from toolkit.engine.bundle import Bundle
    from toolkit.serving.client import Deadlines, TritonClient

Decorator = Callable[[Callable[..., None]], Callable[..., None]]

# what gRPC would log is said in the error; it looks at this when it is imported, as the verbs do before they connect
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

SECONDS = Seconds(min=0, min_open=True, max=1e6)
FILE = click.Path(path_type=Path)

SAMPLING_OPTIONS: tuple[Decorator, ...] = (
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

TEXT_OPTIONS: tuple[Decorator, ...] = (
    click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; repeatable."),
    click.option("--keep-special-tokens", is_flag=True, help="Show special tokens in the text."),
)
DEADLINE_OPTIONS: tuple[Decorator, ...] = (
    click.option(
        "--total-timeout", "--timeout", "total_s", type=SECONDS, help="Seconds for the whole of a generation."
    ),
    click.option(
        "--first-token-timeout", "first_token_s", type=SECONDS, default=120.0, show_default=True, help="Seconds."
    ),
    click.option(
        "--idle-timeout", "idle_s", type=SECONDS, default=30.0, show_default=True, help="Seconds between tokens."
    ),
)
CONNECTION_OPTIONS: tuple[Decorator, ...] = (
    click.option("--tls", is_flag=True, help="Connect by TLS."),
    click.option("--tls-root", metavar="FILE", type=FILE, help="Certificates to trust (PEM); means --tls."),
    click.option("--tls-key", metavar="FILE", type=FILE, help="The client's key (PEM); means --tls."),
    click.option("--tls-cert", metavar="FILE", type=FILE, help="The client's certificate (PEM)."),
    click.option("--header", "headers", metavar="NAME=VALUE", multiple=True, help="Send this header; repeatable."),
    click.option(
        "--keepalive",
        "keepalive_s",
        metavar="SECONDS",
        type=Seconds(min=300, max=1e6),
        help="Ping so often, 300 or more: for a NAT that drops silent connections.",
    ),
)


def options(*groups: tuple[Decorator, ...]) -> Decorator:
    """All of ``groups``, in the order in which help shows them."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


@dataclass(frozen=True, slots=True)
class Target:
    """A server's model, or a bundle in this process: exactly one of ``url`` and ``bundle`` is there."""

    url: str | None
    bundle: Bundle | None


def choose(url: str | None, recipe_path: Path | None, overrides: tuple[str, ...], connection: dict[str, Any]) -> Target:
    """Whom --url (or $TRTKIT_URL) or --local names. Raises ``UsageError``, or what keeps the bundle from opening."""
    if recipe_path is None:
        if overrides:
            raise click.UsageError("--set goes with --local RECIPE.")
        url = url or os.environ.get(URL_VARIABLE)
    if (url is None) == (recipe_path is None):
        raise click.UsageError("Give exactly one of --url and --local.")
    if recipe_path is None:
        return Target(url, None)
    if any(connection.values()):
        raise click.UsageError("TLS, headers, keepalive, request ids and retries go with --url.")
    from toolkit.engine.bundle import Bundle

    return Target(None, Bundle.open_for(load_recipe(recipe_path, overrides)))


def connect(url: str, model: str, *, retries: int, connection: dict[str, Any]) -> TritonClient:
    """The client of a server's model, as the options of ``CONNECTION_OPTIONS`` say."""
    from toolkit.serving.client import Retry, Tls, TritonClient

    files = (connection["tls_root"], connection["tls_key"], connection["tls_cert"])
    tls = Tls.read(*files) if connection["tls"] or any(files) else None
    headers = dict(_header(text) for text in connection["headers"])
    retry = Retry(attempts=1 + retries)
    return TritonClient(url, model=model, tls=tls, headers=headers, retry=retry, keepalive_s=connection["keepalive_s"])


def deadlines(given: dict[str, Any]) -> Deadlines:
    """The values of ``DEADLINE_OPTIONS``, taken out of ``given``."""
    from toolkit.serving.deadlines import Deadlines

    return Deadlines(*(given.pop(name) for name in ("total_s", "first_token_s", "idle_s")))


def taken(given: dict[str, Any]) -> dict[str, Any]:
    """The values of ``CONNECTION_OPTIONS``, taken out of ``given``."""
    return {name: given.pop(name) for name in ("tls", "tls_root", "tls_key", "tls_cert", "headers", "keepalive_s")}


def check_utf8(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise click.UsageError(f"{name} is not UTF-8 at character {error.start}.") from None


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--header {text!r} has no '='; write NAME=VALUE.")
    return name, value

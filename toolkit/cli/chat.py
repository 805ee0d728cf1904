"""``trtkit chat``: talk to a model in the terminal, or answer one conversation."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli import target
from toolkit.cli.common import URL_VARIABLE, echo_json, json_option, load_recipe, set_option

if TYPE_CHECKING:
    from toolkit.chat.session import Ask, Session
    from toolkit.cli.terminal.answer import Answer
    from toolkit.cli.terminal.loop import Generate
    from toolkit.engine.bundle import Bundle
    from toolkit.serving.client import Deadlines, TritonClient
    from toolkit.serving.local import LocalModel

FOLDER = click.Path(path_type=Path, file_okay=False)
COUNT = click.IntRange(min=1)


@click.command()
@click.argument("recipe_path", metavar="[RECIPE]", type=target.FILE, required=False)
@set_option
@click.option("--url", help="Talk to the Triton server at HOST:PORT (gRPC); without RECIPE by default $TRTKIT_URL.")
@click.option("--model", default="tensorrt_llm", show_default=True, help="Model name on that server.")
@click.option("--tokenizer", metavar="DIR", type=FOLDER, help="Folder with tokenizer.json, where no RECIPE names it.")
@click.option(
    "--chat-template", "template", metavar="FILE", type=target.FILE, help="Jinja template to use, not the model's."
)
@click.option("--message", metavar="TEXT", help="Answer this and end.")
@click.option("--system", metavar="TEXT", help="Instructions for the model.")
@click.option("--developer", metavar="TEXT", help="Further instructions, after those of --system.")
@click.option("--effort", type=click.Choice(["low", "medium", "high"]), help="How long a reasoning model may think.")
@click.option(
    "--tools", "tools_path", metavar="FILE", type=target.FILE, help="JSON list of functions that it may call."
)
@click.option("--show-analysis/--hide-analysis", default=None, help="Show what it thinks; by default in a terminal.")
@click.option("--context", type=COUNT, help="Tokens that prompt and answer share; by default as RECIPE says.")
@click.option("--max-tokens", type=COUNT, help="Longest answer; by default what the context leaves, at most 4096.")
@click.option("--temperature", type=float, default=1.0, show_default=True, help="0 takes the most likely token.")
@click.option("--top-k", type=int, default=0, help="Keep this many most likely tokens; 0 keeps all.")
@click.option("--top-p", type=float, default=1.0, help="Keep the most likely tokens up to this probability.")
@click.option("--seed", type=int, help="Seed of the sampling.")
@target.options(target.DEADLINE_OPTIONS, target.CONNECTION_OPTIONS)
@json_option
def command(
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    url: str | None,
    model: str,
    tokenizer: Path | None,
    template: Path | None,
    message: str | None,
    system: str | None,
    developer: str | None,
    effort: str | None,
    tools_path: Path | None,
    show_analysis: bool | None,
    context: int | None,
    max_tokens: int | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Talk to the model of RECIPE's bundle, in this process or at --url. Type /help for what can be typed.

    gpt-oss speaks Harmony, other models their chat template. With --message, or a conversation in JSON on stdin (a list
    of messages, or an object with messages and tools), it answers once: the answer goes to stdout.

    \b
    Example:
      trtkit chat recipes/gpt-oss-20b/h100-latency.yaml
      trtkit chat --url 127.0.0.1:8001 --tokenizer DIR --effort low
      trtkit chat --url 127.0.0.1:8001 --tokenizer DIR --message "What is NVFP4?" --json
    """
    interactive = message is None and sys.stdin.isatty()
    if interactive and as_json:
        raise click.UsageError("--json goes with --message, or with a conversation on stdin.")
    deadlines, connection = target.deadlines(given), target.taken(given)
    url = url if url is not None or recipe_path is not None else os.environ.get(URL_VARIABLE)
    bundle = _bundle(recipe_path, overrides, url, tokenizer)
    session = _session(bundle, tokenizer, template, context, max_tokens)
    if message is not None:
        _say(session, message)
    elif not interactive:
        _load_stdin(session)
    _instruct(session, system, developer, effort, tools_path)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        source = _source(url, model, bundle, connection)
        runner.run(stack.enter_async_context(source))
        generate = _generator(runner, source, session, deadlines, given)
        try:
            if interactive:
                _talk(session, generate, show_analysis is not False)
            else:
                _answer(session, generate, show_analysis is True, as_json)
        finally:
            runner.run(stack.aclose())


def _bundle(
    recipe_path: Path | None, overrides: tuple[str, ...], url: str | None, tokenizer: Path | None
) -> Bundle | None:
    """RECIPE's; None where only a server and a tokenizer are named."""
    from toolkit.engine.bundle import Bundle

    if recipe_path is not None:
        if tokenizer is not None:
            raise click.UsageError("--tokenizer goes with --url alone: RECIPE has one.")
        return Bundle.open_for(load_recipe(recipe_path, overrides))
    if overrides:
        raise click.UsageError("--set goes with RECIPE.")
    if url is None or tokenizer is None:
        raise click.UsageError("Give RECIPE, or --url with --tokenizer DIR.")
    return None


def _session(
    bundle: Bundle | None, tokenizer: Path | None, template: Path | None, context: int | None, max_tokens: int | None
) -> Session:
    from toolkit.chat import open_chat
    from toolkit.chat.session import Session

    folder = tokenizer if bundle is None else bundle.tokenizer_dir
    assert folder is not None
    if context is None and bundle is not None:
        context = bundle.recipe.engine.max_seq_len
    return Session(open_chat(folder, template), context, max_tokens)


def _say(session: Session, message: str) -> None:
    from toolkit.chat import Message

    target.check_utf8("--message", message)
    session.turns.append(Message(role="user", content=message))


def _load_stdin(session: Session) -> None:
    from toolkit.chat import parse_conversation

    session.load(parse_conversation(sys.stdin.buffer.read(), "stdin"))


def _instruct(
    session: Session, system: str | None, developer: str | None, effort: str | None, tools: Path | None
) -> None:
    """What the command line says beats what the conversation says."""
    from toolkit.chat import read_tools

    if system is not None:
        target.check_utf8("--system", system)
        session.system = system
    if developer is not None:
        target.check_utf8("--developer", developer)
        session.developer = developer
    if tools is not None:
        session.tools = read_tools(tools)
    options = session.options
    today = options.current_date or date.today().isoformat()
    changes = {"current_date": today, "reasoning_effort": effort or options.reasoning_effort}
    session.options = options.model_copy(update=changes)


def _source(
    url: str | None, model: str, bundle: Bundle | None, connection: dict[str, Any]
) -> TritonClient | LocalModel:
    if url is not None:
        return target.connect(url, model, retries=0, connection=connection)
    if any(connection.values()):
        raise click.UsageError("TLS, headers and keepalive go with --url.")
    from toolkit.serving.local import LocalModel

    assert bundle is not None
    return LocalModel.open(bundle)


def _generator(
    runner: asyncio.Runner,
    source: TritonClient | LocalModel,
    session: Session,
    deadlines: Deadlines,
    sampling: dict[str, Any],
) -> Generate:
    """One answer at a time on one event loop; Ctrl-C cancels it, which closes its chunks and frees the server."""
    from toolkit.engine.runtime.protocol import SamplingParams

    ends = session.chat.stop_token_ids

    def generate(asked: Ask, answer: Answer) -> None:
        params = SamplingParams(max_tokens=asked.max_tokens, stop_token_ids=ends, **sampling)
        chunks = source.generate(asked.prompt, sampling=params, deadlines=deadlines, skip_special_tokens=False)
        runner.run(answer.listen(chunks))

    return generate


def _talk(session: Session, generate: Generate, show_analysis: bool) -> None:
    import contextlib

    from toolkit.cli.terminal.loop import Loop
    from toolkit.cli.terminal.screen import Screen

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (input() edits its line with it)
    screen = Screen(show_analysis=show_analysis)
    screen.note(f"{session.chat.name}; /help lists commands, Ctrl-D ends")
    Loop(session, generate, screen, input).run()


def _answer(session: Session, generate: Generate, show_analysis: bool, as_json: bool) -> None:
    from toolkit.cli.terminal.once import answer_once
    from toolkit.cli.terminal.screen import Screen

    document = answer_once(session, generate, Screen(show_analysis=show_analysis), as_json=as_json)
    if as_json:
        echo_json(document)

"""``trtkit batch``: answer every line of a JSON Lines file, on a server or in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli import target
from toolkit.cli.common import echo_json, json_option, set_option, terminated_as_interrupted

if TYPE_CHECKING:
    from toolkit.chat import Chat
    from toolkit.serving.batch import Conversing, Generate, Line, Probe, Progress, Scan, Summary
    from toolkit.serving.client import Deadlines, TritonClient

FOLDER = click.Path(path_type=Path, file_okay=False)
RETRIES = 6
PROBE_S = 30.0
KEPT = "What is done is kept. Type the same command to go on"


@click.command()
@click.argument("source", metavar="IN.jsonl", type=target.FILE)
@click.argument("output", metavar="OUT.jsonl", type=target.FILE)
@click.option("--url", help="Ask the Triton server at HOST:PORT (gRPC); by default $TRTKIT_URL.")
@click.option("--model", default="tensorrt_llm", show_default=True, help="Model name on that server.")
@click.option("--local", "recipe_path", metavar="RECIPE", type=target.FILE, help="Answer without a server.")
@set_option
@click.option("--tokenizer", metavar="DIR", type=FOLDER, help="The model's, for lines with messages and --url.")
@click.option("--chat-template", "template", metavar="FILE", type=target.FILE, help="Jinja template for messages.")
@click.option("--concurrency", type=click.IntRange(min=1), default=16, show_default=True, help="Requests at a time.")
@click.option("--retry-failed", is_flag=True, help="Ask again for the lines that failed before.")
@target.options(target.SAMPLING_OPTIONS, target.TEXT_OPTIONS, target.DEADLINE_OPTIONS, target.CONNECTION_OPTIONS)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    help=f"Try a line again so often while the queue is full; by default {RETRIES}.",
)
@json_option
def command(
    source: Path,
    output: Path,
    url: str | None,
    model: str,
    recipe_path: Path | None,
    overrides: tuple[str, ...],
    tokenizer: Path | None,
    template: Path | None,
    concurrency: int,
    retry_failed: bool,
    stop: tuple[str, ...],
    keep_special_tokens: bool,
    retries: int | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Answer every line of IN.jsonl, a JSON object with prompt, input_ids or messages, into OUT.jsonl.

    A line may have an id and the sampling options by name (max_tokens, temperature, stop, ...); options here are for
    lines that have none. The whole file is checked first. OUT.jsonl is written in the order of IN.jsonl, one record a
    line; a line that failed has an error in it, and makes the exit code 1. Whatever stops the run, the same command
    goes on from there.

    \b
    Example:
      trtkit batch prompts.jsonl answers.jsonl --url 127.0.0.1:8001 --concurrency 64
      trtkit batch prompts.jsonl answers.jsonl --local recipes/tiny-gpt-oss/cpu.yaml --json
    """
    import asyncio

    from toolkit.checkpoint.files import sha256_file
    from toolkit.engine.runtime.protocol import SamplingParams
    from toolkit.serving.batch import Defaults, run_batch, scan_lines

    deadlines, connection = target.deadlines(given), target.taken(given)
    chosen = target.choose(url, recipe_path, overrides, {**connection, "retries": retries})
    if tokenizer is not None and chosen.url is None:
        raise click.UsageError("--tokenizer goes with --url: RECIPE's bundle has one.")
    for words in stop:
        target.check_utf8("--stop", words)
    defaults = Defaults(SamplingParams(**given), stop, not keep_special_tokens)
    conversing = _conversing(chosen, tokenizer, template)
    scan = scan_lines(source, defaults, conversing)
    of_template = {} if template is None else {"chat_template": sha256_file(template)}

    async def run() -> Summary:
        tries = RETRIES if retries is None else retries
        with _progress() as show:
            async with _asked(chosen, model, tries, connection, deadlines, scan) as (generate, identity, probe):
                with _kept():
                    return await run_batch(
                        generate,
                        source,
                        scan,
                        output,
                        defaults=defaults,
                        model=identity | of_template,
                        conversing=conversing,
                        concurrency=concurrency,
                        retry_failed=retry_failed,
                        probe=probe,
                        on_progress=show,
                    )

    try:
        with terminated_as_interrupted():
            summary = asyncio.run(run())
    except KeyboardInterrupt:
        click.echo(KEPT, err=True)
        raise
    _tell(summary, output, as_json)


@contextmanager
def _kept() -> Iterator[None]:
    """Say so where the model goes in the middle of the run."""
    from toolkit.errors import EngineDeadError, UnavailableError

    try:
        yield
    except (EngineDeadError, UnavailableError):
        click.echo(KEPT, err=True)
        raise


def _tell(summary: Summary, output: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from toolkit.errors import BatchError

    if as_json:
        rate = summary.output_tokens / summary.elapsed_s if summary.elapsed_s else 0.0
        echo_json({"output": str(output), **asdict(summary), "output_tokens_per_s": rate})
    else:
        click.echo(f"{output}: {summary.ok} answered, {summary.failed} failed")
    if summary.failed:
        what = f"{summary.failed} of {summary.requests} lines failed"
        raise BatchError(what, where=str(output), hint="To ask for them again, type the same and --retry-failed")


@asynccontextmanager
async def _asked(
    chosen: target.Target,
    model: str,
    retries: int,
    connection: dict[str, Any],
    deadlines: Deadlines,
    scan: Scan,
) -> AsyncIterator[tuple[Generate, dict[str, Any], Probe | None]]:
    """How a line is asked for, whose the answers are, and how a server is asked whether it still answers."""
    if chosen.url is not None:
        async with target.connect(chosen.url, model, retries=retries, connection=connection) as client:
            identity = await _served(client, scan)
            yield (
                lambda line: client.generate(line.prompt, **_options(line, deadlines), request_id=str(line.id)),
                identity,
                lambda: client.probe(PROBE_S),
            )
        return
    from toolkit.serving.local import LocalModel

    assert chosen.bundle is not None
    async with LocalModel.open(chosen.bundle) as local:
        identity = {"identity": chosen.bundle.manifest["identity"]}
        yield lambda line: local.generate(line.prompt, **_options(line, deadlines)), identity, None


def _options(line: Line, deadlines: Deadlines) -> dict[str, Any]:
    return {
        "sampling": line.sampling,
        "stop": line.stop,
        "skip_special_tokens": line.skip_special_tokens,
        "deadlines": deadlines,
    }


async def _served(client: TritonClient, scan: Scan) -> dict[str, Any]:
    """Check that the model takes all that the lines ask for; returns whose the answers will be."""
    from toolkit.errors import UnsupportedError

    parameters = await client.parameters()
    contract = await client.contract()
    for key, where in scan.uses.items():
        try:
            contract.refuse((key,))
        except UnsupportedError as error:
            raise UnsupportedError(error.what, where=where, hint=error.hint) from None
    if "identity" in parameters:
        return {"identity": parameters["identity"]}
    return {"model": client.model, "contract": contract.kind}


def _conversing(chosen: target.Target, tokenizer: Path | None, template: Path | None) -> Conversing | None:
    folder = chosen.bundle.tokenizer_dir if chosen.bundle is not None else tokenizer
    return None if folder is None else _Conversations(folder, template)


class _Conversations:
    """The chat format of a tokenizer, opened when the first line has messages."""

    def __init__(self, folder: Path, template: Path | None) -> None:
        self._folder = folder
        self._template = template
        self._opened: Chat | None = None

    def prompt(self, conversation: Mapping[str, Any], where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        from toolkit.chat import conversation_from

        asked = conversation_from(dict(conversation), where)
        return self._chat.prompt(asked), self._chat.stop_token_ids

    def message(self, prompt: tuple[int, ...], answer: tuple[int, ...]) -> dict[str, Any]:
        from toolkit.chat import to_message

        parser = self._chat.parser(prompt)
        return to_message([*parser.push(answer), *parser.finish()]).to_dict()

    @property
    def _chat(self) -> Chat:
        from toolkit.chat import open_chat

        if self._opened is None:
            self._opened = open_chat(self._folder, self._template)
        return self._opened


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A progress bar on stderr; silent when stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed, {task.fields[rate]:.0f} tokens/s"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=None, failed=0, rate=0.0)

        def show(progress: Any) -> None:
            rate = progress.output_tokens / (shown.tasks[0].elapsed or 1.0)
            shown.update(task, completed=progress.finished, total=progress.requests, failed=progress.failed, rate=rate)

        yield show

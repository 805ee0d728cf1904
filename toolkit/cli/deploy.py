"""``trtkit deploy``: render manifests of a recipe, and what the containers that they start run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.common import (
    echo_json,
    json_option,
    load_recipe,
    recipe_argument,
    set_option,
    terminated_as_interrupted,
)

if TYPE_CHECKING:
    from toolkit.deploy.deployment import Deployment

_OPTIONS = (
    recipe_argument,
    set_option,
    click.option("--tag", metavar="YY.MM", help="Image tag of the lock; by default the newest with the release."),
    click.option("--base", metavar="IMAGE", help="Build on this image with Triton and TensorRT-LLM instead."),
    click.option("--image", metavar="IMAGE", help="Name of trtkit's own image, as the registry has it."),
    click.option("--unbuilt", is_flag=True, help="Render from the plan: the bundle is not built, or not here."),
    click.option(
        "--out", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write files to this folder."
    ),
    json_option,
)


def _options(function: Callable[..., None]) -> Callable[..., None]:
    return reduce(lambda inner, option: option(inner), reversed(_OPTIONS), function)


@click.group()
def command() -> None:
    """Render Docker Compose or Kubernetes manifests of a recipe.

    Image, release, GPUs, memory and probes follow the recipe's plan and the bundle at engine.output.

    \b
    Example:
      trtkit deploy compose recipes/tiny-gpt-oss/cpu.yaml > compose.yaml
      trtkit deploy k8s recipes/gpt-oss-120b/b200.yaml --unbuilt --out manifests
    """


@command.command()
@_options
@click.option("--devices", metavar="N,...", help="GPU indices of the host; by default the first ones.")
def compose(folder: Path | None, as_json: bool, devices: str | None, **options: Any) -> None:
    """Render a compose file that serves RECIPE's bundle.

    With --out, Prometheus rules and a Grafana dashboard are written beside it.

    \b
    Example:
      trtkit deploy compose recipes/tiny-gpt-oss/cpu.yaml > compose.yaml
      trtkit deploy compose gpt-oss-120b/b200-latency --devices 4,5,6,7 --out deployment
    """
    from toolkit.deploy import monitoring
    from toolkit.deploy.compose import compose as render
    from toolkit.deploy.text import to_yaml
    from toolkit.resources import checkout

    found = _deployment(**options, devices=tuple(devices.split(",")) if devices else ())
    document = render(found, checkout())
    files = {"compose.yaml": to_yaml([document], found.notes)}
    if folder is not None:
        files |= {name: monitoring.text(name) for name in (monitoring.RULES, monitoring.DASHBOARD)}
    _emit(folder, files, document, found.notes, as_json)


@command.command()
@_options
@click.option("--namespace", metavar="NAME", help="Namespace of every object.")
@click.option("--claim", metavar="NAME", help="Volume claim with the bundle.  [default: NAME-bundle]")
@click.option("--replicas", type=click.IntRange(min=0), default=1, show_default=True)
@click.option(
    "--gpus-per-node", type=click.IntRange(min=1), metavar="N", help="GPUs of a node; more take several nodes."
)
@click.option("--no-monitoring", is_flag=True, help="Leave out what needs the Prometheus operator or Grafana.")
def k8s(
    folder: Path | None,
    as_json: bool,
    namespace: str | None,
    claim: str | None,
    replicas: int,
    no_monitoring: bool,
    **options: Any,
) -> None:
    """Render Kubernetes manifests that serve RECIPE's bundle.

    A Deployment where one node has GPUs enough, else a LeaderWorkerSet. With --out, one file an object.

    \b
    Example:
      trtkit deploy k8s recipes/tiny-gpt-oss/cpu.yaml --namespace llm | kubectl apply -f -
      trtkit deploy k8s gpt-oss-120b/b200 --image registry.example/trtkit:1 --out manifests
    """
    from toolkit.deploy.kubernetes import manifests, notes
    from toolkit.deploy.pod import Cluster
    from toolkit.deploy.text import to_yaml

    found = _deployment(**options)
    objects = manifests(found, Cluster(namespace, claim, replicas, monitoring=not no_monitoring))
    said = notes(found)
    if folder is None:
        files = {"": to_yaml(objects, said)}
    else:
        files = {f"{thing['kind'].lower()}.yaml": to_yaml([thing]) for thing in objects}
    _emit(folder, files, objects, said, as_json)


@command.command()
@click.argument("bundle", type=click.Path(path_type=Path), default=Path("/bundle"))
@set_option
@click.option("--identity", metavar="SHA256", help="Refuse a bundle with another identity.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=600.0, show_default=True, help="Seconds.")
def run(bundle: Path, overrides: tuple[str, ...], identity: str | None, timeout_s: float) -> None:
    """Check this container, then serve BUNDLE until SIGTERM: what the images start.

    Says in one line what is missing (release, GPU, bundle, tokenizer, shared memory, writable folders, ports) before
    anything is loaded. --timeout bounds loading, serve.grace_s the drain of running streams. Triton's admin calls are
    closed.

    \b
    Example:
      trtkit deploy run /bundle --set serve.model_name=tensorrt_llm
    """
    from toolkit.deploy.run import serve

    with terminated_as_interrupted():
        try:
            serve(
                bundle,
                overrides=overrides,
                identity=identity,
                timeout_s=timeout_s,
                say=lambda line: click.echo(line, err=True),
            )
        except KeyboardInterrupt:
            click.echo("stopped", err=True)


@command.command()
@click.argument("url", metavar="[HOST:PORT]", default="127.0.0.1:8001")
@click.option("--model", default="tensorrt_llm", show_default=True, help="Triton model name.")
@click.option(
    "--metrics", "metrics_url", default="http://127.0.0.1:8002/metrics", show_default=True, help="Metrics URL."
)
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Seconds.")
def health(url: str, model: str, metrics_url: str, timeout_s: float) -> None:
    """Exit with 0 if the server at HOST:PORT generates: what HEALTHCHECK and the probes run.

    Asks for one token. A server that is too busy for it is healthy as long as its counters of generated tokens move.

    \b
    Example:
      trtkit deploy health 127.0.0.1:8001
    """
    from toolkit.deploy.health import check

    click.echo(check(url, model, timeout_s=timeout_s, metrics_url=metrics_url))


def _deployment(recipe_path: Path, overrides: tuple[str, ...], unbuilt: bool, **options: Any) -> Deployment:
    from toolkit.deploy.deployment import Options
    from toolkit.deploy.source import of_bundle, of_plan

    recipe = load_recipe(recipe_path, overrides)
    return (of_plan if unbuilt else of_bundle)(recipe, Options(**options))


def _emit(folder: Path | None, files: dict[str, str], value: Any, notes: Iterable[str], as_json: bool) -> None:
    """One document on stdout and the notes on stderr, or the files in ``folder`` and their names on stdout."""
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if folder is None:
        if as_json:
            echo_json(value)
        else:
            click.echo("".join(files.values()), nl=False)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    if as_json:
        echo_json({"files": [str(folder / name) for name in files]})
    else:
        click.echo("\n".join(str(folder / name) for name in files))

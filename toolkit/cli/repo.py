"""``trtkit repo``: render the Triton model repository of a built bundle."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.common import echo_json, json_option, load_recipe, recipe_argument, set_option


@click.command()
@recipe_argument
@set_option
@json_option
def command(recipe_path: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Render the Triton model repository of RECIPE's engine bundle.

    The bundle at engine.output must exist; the repository goes to serve.repository.

    \b
    Example:
      trtkit repo recipes/tiny-gpt-oss/cpu.yaml --set serve.repository=build/repository
    """
    from toolkit.engine.bundle import Bundle
    from toolkit.serving.repository import render_for

    recipe = load_recipe(recipe_path, overrides)
    render_for(recipe, Bundle.open_for(recipe))
    folder = recipe.serve.repository
    if as_json:
        echo_json({"repository": str(folder), "model": recipe.serve.model_name})
    else:
        click.echo(folder)

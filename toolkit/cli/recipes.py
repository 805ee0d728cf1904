"""``trtkit recipes``: list, show and validate recipes."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.common import echo_json, json_option, load_recipe, recipe_argument, set_option


@click.group()
def command() -> None:
    """List, show and validate recipes.

    \b
    Example:
      trtkit recipes ls
      trtkit recipes show tiny-gpt-oss/cpu --set target.runtime=cpu
    """


@command.command("ls")
@json_option
def ls(as_json: bool) -> None:
    """List the shipped recipes with their first comment line."""
    from toolkit.resources import recipes_dir

    folder = recipes_dir()
    rows = [
        (str(path.relative_to(folder).with_suffix("")), _title(path))
        for path in sorted(folder.glob("*/*.yaml"), key=lambda path: path.with_suffix(""))
    ]
    if as_json:
        echo_json([{"name": name, "path": str(folder / f"{name}.yaml"), "title": title} for name, title in rows])
        return
    width = max(len(name) for name, _ in rows)
    for name, title in rows:
        click.echo(f"{name:<{width}}  {title}")


@command.command("show")
@recipe_argument
@set_option
@json_option
def show(recipe_path: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print the resolved recipe."""
    recipe = load_recipe(recipe_path, overrides)
    if as_json:
        echo_json(recipe.to_dict())
    else:
        click.echo(recipe.to_yaml(), nl=False)


@command.command("validate")
@click.argument("recipe_paths", metavar="RECIPE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@set_option
def validate(recipe_paths: tuple[Path, ...], overrides: tuple[str, ...]) -> None:
    """Check recipes against the schema."""
    for path in recipe_paths:
        load_recipe(path, overrides)
        click.echo(f"{path}: ok")


@command.command("schema")
def schema() -> None:
    """Print the JSON schema of a recipe file."""
    from toolkit import recipe

    click.echo(recipe.schema_text(), nl=False)


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")

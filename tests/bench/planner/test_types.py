from __future__ import annotations

import math

import pytest

from toolkit.bench.planner.types import Budget, Cell, Ladder, Space
from toolkit.errors import RecipeError


def test_cells_stand_in_the_order_of_the_space() -> None:
    space = Space((Ladder("tp2", 2, (4, 8)), Ladder("tp1", 1, (1,))))
    assert space.cells == (Cell("tp2", 4), Cell("tp2", 8), Cell("tp1", 1))
    assert str(space.cells[0]) == "tp2 at concurrency 4"


@pytest.mark.parametrize("steps", [(), (0, 1), (4, 4), (8, 4), (-1,)])
def test_a_ladder_ascends(steps: tuple[int, ...]) -> None:
    with pytest.raises(RecipeError, match=r"^tp1: concurrencies must ascend from 1 or more$"):
        Ladder("tp1", 1, steps)


@pytest.mark.parametrize(("gpus", "minutes"), [(0, 0.0), (1, -1.0), (1, math.nan), (1, math.inf)])
def test_a_ladder_has_gpus_and_a_cost(gpus: int, minutes: float) -> None:
    with pytest.raises(RecipeError, match=r"^tp1: a layout needs a GPU and a cost"):
        Ladder("tp1", gpus, (1,), minutes)


def test_a_space_has_layouts_of_different_names() -> None:
    with pytest.raises(RecipeError, match="no layout"):
        Space(())
    with pytest.raises(RecipeError, match=r"^tp1: the layout stands twice$"):
        Space((Ladder("tp1", 1, (1,)), Ladder("tp1", 2, (2,))))


@pytest.mark.parametrize("limits", [{"trials": -1}, {"gpu_minutes": -0.5}, {"gpu_minutes": math.nan}])
def test_a_budget_is_not_negative(limits: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=rf"the budget {next(iter(limits))} must be 0 or more"):
        Budget(**limits)  # type: ignore[arg-type]

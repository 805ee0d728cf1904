from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench.made_up import small_recipe
from tests.bench.runners.engines import Engines, FakeEngine
from toolkit.bench.events import Event, Finished
from toolkit.bench.records import scan_sweep
from toolkit.bench.run import run_sweep
from toolkit.bench.runners.engine import EngineRunner
from toolkit.bench.runners.protocol import Session, Variant
from toolkit.engine.bundle import Bundle
from toolkit.errors import EngineError

VARIANTS = "bench.variants=[{name: a}, {name: b, set: {engine.precision: w4a4}}]"


def test_one_start_serves_all_points_of_a_variant(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, ["bench.runner=engine", VARIANTS, "bench.strategy=grid", "bench.repeats=2"])
    engines = Engines()
    result = run_sweep(recipe, runner=engines.runner)
    assert result.ok
    assert sorted(name for name, _ in engines.opened) == ["a", "b"]
    assert all(engine.closed for _, engine in engines.opened)
    # the probe, and two trials each of four requests with one and two warm-up requests
    assert [len(engine.requests) for _, engine in engines.opened] == [1 + 2 * (4 + 1) + 2 * (4 + 2)] * 2
    scan = scan_sweep(result.folder)
    assert (scan.damaged, len(scan.ok)) == ((), 8)
    assert {(trial.runner, trial.server) for trial in scan.trials} == {("engine", None)}
    assert {(trial.variant, trial.recipe["engine"]["precision"]) for trial in scan.trials} == {
        ("a", "w4a16"),
        ("b", "w4a4"),
    }
    for _, engine in engines.opened:
        assert sorted(engine.cancelled) == sorted(request.request_id for request in engine.requests)


def test_rounds_start_each_variant_once_a_round(tmp_path: Path) -> None:
    recipe = small_recipe(
        tmp_path, ["bench.runner=engine", VARIANTS, "bench.strategy=grid", "bench.repeats=2", "bench.order=rounds"]
    )
    engines = Engines()
    finished: list[tuple[str, int]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Finished):
            finished.append((event.trial.variant, event.trial.point.repeat))

    assert run_sweep(recipe, runner=engines.runner, on_event=listen).ok
    assert [repeat for _, repeat in finished] == [1] * 4 + [2] * 4
    assert sorted(finished) == sorted([(name, repeat) for name in "ab" for repeat in (1, 2) for _ in range(2)])
    assert len(engines.opened) in (3, 4)


def test_a_variant_that_dies_is_left_and_the_others_go_on(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, ["bench.runner=engine", VARIANTS, "bench.strategy=grid", "bench.repeats=2"])
    result = run_sweep(recipe, runner=Engines("b").runner)
    assert result.stopped == "b: the engine is dead"
    assert not result.ok
    assert [trial.status for trial in result.trials if trial.variant == "a"] == ["ok"] * 4
    assert [trial.status for trial in result.trials if trial.variant == "b"][-1] == "failed"
    again = run_sweep(recipe, runner=Engines().runner)
    assert again.ok
    assert {trial.variant for trial in again.trials} == {"b"}
    assert len(scan_sweep(result.folder).ok) == 8


def test_an_engine_that_cannot_be_opened(tmp_path: Path) -> None:
    def load(bundle: Bundle) -> FakeEngine:
        raise EngineError("no such GPU")

    with pytest.raises(EngineError, match="no such GPU"):
        run_sweep(small_recipe(tmp_path, ["bench.runner=engine"]), runner=EngineRunner(load))


class Starts:
    """Counts how often each variant is started."""

    def __init__(self, runner: EngineRunner) -> None:
        self.names: list[str] = []
        self._runner = runner
        self.kind = runner.kind

    @contextmanager
    def open(self, variant: Variant) -> Iterator[Session]:
        self.names.append(variant.name)
        with self._runner.open(variant) as session:
            yield session


def test_the_frontier_stays_with_a_variant_as_long_as_it_can(tmp_path: Path) -> None:
    values = ["bench.runner=engine", VARIANTS, "bench.concurrency=[1,2,3,4]", "bench.isl=[4,5]", "bench.repeats=1"]
    starts = Starts(Engines().runner)
    result = run_sweep(small_recipe(tmp_path, values), runner=starts)
    assert result.ended is not None
    assert "frontier: " in result.ended
    assert {trial.why.partition(":")[0] for trial in result.trials} <= {"frontier", "repeats"}
    # at most half of the points and one more of each ISL/OSL
    assert 4 <= len(result.trials) <= 2 * 5
    assert len(starts.names) <= len(result.trials)
    assert all(left != right for left, right in zip(starts.names, starts.names[1:], strict=False))

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.bench.made_up import FakeClient, recorded_requests, refuse
from toolkit.bench import watch
from toolkit.bench.events import Answered, Event, Finished, Resumed, Started
from toolkit.bench.portable import portable_recipe
from toolkit.bench.records import TRIAL_FILE, scan_sweep
from toolkit.bench.run import SweepResult, run_sweep
from toolkit.bench.runners.triton import TritonRunner
from toolkit.bench.trial import REQUESTS_FILE
from toolkit.bench.watch import Endpoint
from toolkit.engine.bundle import Bundle
from toolkit.errors import BundleError, RecipeError, RecordError, ServerError, TrtkitError, UnavailableError
from toolkit.recipe import Recipe


@dataclass
class Bench:
    """Runs sweeps of ``recipe`` through fake clients and remembers what happened."""

    recipe: Recipe
    client: FakeClient = field(default_factory=FakeClient)
    events: list[Event] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    connected: list[tuple[str, str]] = field(default_factory=list)
    check: Callable[[], None] = lambda: None

    def run(self, url: str | None = None, on_event: Callable[[Event], None] | None = None) -> SweepResult:
        self.events.clear()
        return run_sweep(
            self.recipe,
            url=url,
            argv=["trtkit", "bench", "run"],
            on_event=on_event or self.events.append,
            runner=TritonRunner(url, self.serve, self.connect),
        )

    @contextmanager
    def serve(self, recipe: Recipe, bundle: Bundle) -> Iterator[Endpoint]:
        assert bundle.folder == recipe.engine.output
        self.served.append("started")
        try:
            yield Endpoint("127.0.0.1:1", self.check)
        finally:
            self.served.append("stopped")

    def connect(self, url: str, model: str) -> FakeClient:
        self.connected.append((url, model))
        return self.client


GRID = "grid: every point is measured"


class Done(Exception):
    """Ends a run from its own events."""


@pytest.fixture
def bench(recipe: Recipe) -> Bench:
    return Bench(recipe)


def unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")]


def test_a_sweep(bench: Bench) -> None:
    result = bench.run()
    assert result.ok
    assert bench.served == ["started", "stopped"]
    assert bench.connected == [("127.0.0.1:1", "tensorrt_llm")]
    scan = scan_sweep(result.folder)
    assert scan.damaged == ()
    assert sorted(trial.trial_id for trial in result.trials) == sorted(trial.trial_id for trial in scan.trials)
    assert [trial.point for trial in result.trials] == list(scan.sweep.plan.points)
    for trial in scan.trials:
        assert (trial.status, trial.error, trial.hardware) == ("ok", None, "CPU")
        assert trial.argv == ("trtkit", "bench", "run")
        assert trial.recipe == portable_recipe(bench.recipe)
        assert trial.server is not None
        assert trial.server.model_dump() == {"url": "127.0.0.1:1", "started_by_bench": True}
        assert trial.metrics is not None
        assert trial.metrics.num_requests == trial.point.requests == 4
        assert trial.started_at <= trial.ended_at
        requests = recorded_requests(result.folder / "trials" / trial.trial_id)
        assert [request.output_tokens for request in requests] == [3] * 4


def test_events_in_their_order(bench: Bench) -> None:
    result = bench.run()
    first, second = scan_sweep(result.folder).sweep.plan.points
    answered = [Answered(count) for count in (1, 2, 3, 4)]
    assert bench.events == [
        Resumed(result.folder, 0, 2, ()),
        Started(1, 2, first, GRID),
        *answered,
        Finished(result.trials[0]),
        Started(2, 2, second, GRID),
        *answered,
        Finished(result.trials[1]),
    ]


def test_a_finished_sweep_starts_no_server(bench: Bench) -> None:
    first = bench.run()
    files = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    bench.served.clear()
    again = bench.run()
    assert again == SweepResult(first.folder, skipped=2, ended=GRID)
    assert again.ok
    assert bench.served == []
    assert bench.events == [Resumed(first.folder, 2, 2, ())]
    assert {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()} == files


@pytest.fixture
def _sigint() -> Iterator[None]:
    """A shell starts background commands with SIGINT ignored; this test needs Python's own handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_sigint")
def test_an_interrupt_leaves_finished_trials_only(bench: Bench) -> None:
    def interrupt(event: Event) -> None:
        bench.events.append(event)
        if event == Answered(2) and len([e for e in bench.events if isinstance(e, Finished)]) == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        bench.run(on_event=interrupt)
    assert bench.served == ["started", "stopped"]
    assert bench.client.in_flight == 0
    folder = next(bench.recipe.bench.output.iterdir())
    scan = scan_sweep(folder)
    assert [trial.point for trial in scan.trials] == [scan.sweep.plan.points[0]]
    assert scan.damaged == ()
    assert unfinished(folder) == []

    bench.client = FakeClient()
    result = bench.run()
    assert (result.skipped, [trial.point for trial in result.trials]) == (1, [scan.sweep.plan.points[1]])
    assert bench.events[:2] == [Resumed(folder, 1, 2, ()), Started(2, 2, scan.sweep.plan.points[1], GRID)]


def test_a_failed_trial_is_recorded_and_tried_again(bench: Bench) -> None:
    def fail_once(number: int) -> None:
        if number == 0:
            refuse(number)

    bench.client = FakeClient(fail=fail_once)
    result = bench.run()
    assert not result.ok
    assert result.stopped is None
    failed, whole = result.trials
    assert (failed.status, failed.error, failed.metrics) == ("failed", "warm-up: generation 0 went wrong", None)
    assert whole.status == "ok"

    bench.client = FakeClient()
    again = bench.run()
    assert again.ok
    assert again.skipped == 1
    assert [(trial.point, trial.attempt, trial.status) for trial in again.trials] == [(failed.point, 2, "ok")]
    assert [trial.status for trial in scan_sweep(result.folder).trials if trial.point == failed.point] == [
        "failed",
        "ok",
    ]


def test_an_output_of_another_length_is_invalid(bench: Bench) -> None:
    bench.client.extra_tokens = 1
    result = bench.run()
    assert not result.ok
    assert [(trial.status, trial.reason, trial.metrics) for trial in result.trials] == [
        ("invalid", "osl_3: 0 of 4 requests", None)
    ] * 2


def test_the_sweep_stops_when_nothing_can_be_generated(bench: Bench) -> None:
    def die(number: int) -> None:
        bench.client.alive = False
        refuse(number)

    bench.client = FakeClient(fail=die)
    result = bench.run()
    assert not result.ok
    assert result.stopped == "nothing is serving"
    assert len(result.trials) == 1


DEATH = ServerError("the model process died", where="/log")


def test_a_trial_whose_own_server_dies_fails_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        if bench.client.hang_from is not None and len(bench.client.prompts) > bench.client.hang_from:
            raise DEATH

    monkeypatch.setattr(watch, "CHECK_S", 0.001)
    bench.check, bench.client.hang_from = check, 8
    result = bench.run()
    assert (result.ok, result.stopped) == (False, "/log: the model process died")
    assert [(trial.status, trial.error) for trial in result.trials] == [("ok", None), ("failed", DEATH.what)]
    assert list(scan_sweep(result.folder).damaged) == []
    assert {trial.trial_id for trial in scan_sweep(result.folder).trials} == {t.trial_id for t in result.trials}
    assert recorded_requests(result.folder / "trials" / result.trials[1].trial_id) == ()
    assert (bench.client.in_flight, bench.served) == (0, ["started", "stopped"])


def test_the_sweep_stops_at_a_death_that_a_client_saw_first(bench: Bench) -> None:
    dead: list[bool] = []

    def fail(number: int) -> None:
        dead.append(True)
        refuse(number)

    def check() -> None:
        if dead:
            raise DEATH

    bench.check, bench.client = check, FakeClient(fail=fail)
    result = bench.run()
    assert result.stopped == "/log: the model process died"
    assert [(trial.status, trial.error) for trial in result.trials] == [("failed", "warm-up: generation 0 went wrong")]


def test_nothing_is_recorded_without_a_server(bench: Bench) -> None:
    bench.client.alive = False
    with pytest.raises(UnavailableError, match="nothing is serving"):
        bench.run(url="127.0.0.1:2")
    assert scan_sweep(next(bench.recipe.bench.output.iterdir())).trials == ()


def test_a_server_elsewhere_is_measured_in_a_sweep_of_its_own(bench: Bench) -> None:
    own, other = bench.run(), bench.run(url="elsewhere:2")
    assert own.folder != other.folder
    assert bench.served == ["started", "stopped"]
    assert bench.connected[-1] == ("elsewhere:2", "tensorrt_llm")
    assert {trial.server and trial.server.started_by_bench for trial in other.trials} == {False}
    moved = bench.run(url="elsewhere:3")
    assert (moved.folder, moved.skipped) == (other.folder, 2)


def test_a_server_on_this_machine_resumes_the_same_sweep(bench: Bench) -> None:
    def second_fails(number: int) -> None:
        if number == 5:
            refuse(number)

    bench.client = FakeClient(fail=second_fails)
    first = bench.run(url="127.0.0.1:41533")
    assert [trial.status for trial in first.trials] == ["ok", "failed"]
    bench.client = FakeClient()
    again = bench.run(url="localhost:35917")
    assert (again.folder, again.skipped, again.ok) == (first.folder, 1, True)
    assert bench.run() == SweepResult(first.folder, skipped=2, ended=GRID)
    assert bench.served == []


@pytest.mark.parametrize(
    ("served", "what"),
    [
        ({"identity": "3" * 64}, "the server runs another bundle than the recipe's"),
        ({"bundle": "somewhere"}, "the server does not say which bundle it runs"),
    ],
)
def test_a_server_of_another_bundle_is_not_measured(bench: Bench, served: dict[str, str], what: str) -> None:
    bench.client.served = served
    with pytest.raises(RecordError) as caught:
        bench.run(url="127.0.0.1:2")
    assert (caught.value.what, caught.value.where) == (what, "127.0.0.1:2")
    assert caught.value.hint == "Type: trtkit serve RECIPE, with the same --set"
    assert bench.client.prompts == []
    assert scan_sweep(next(bench.recipe.bench.output.iterdir())).trials == ()


def test_records_name_no_folder_of_the_machine(bench: Bench, tmp_path: Path) -> None:
    folder = run_sweep(
        bench.recipe,
        argv=["trtkit", "bench", "run", f"{tmp_path}/recipe.yaml", "--set", f"bench.output={tmp_path}/results"],
        runner=TritonRunner(None, bench.serve, bench.connect),
    ).folder
    (trial, *_) = scan_sweep(folder).trials
    assert trial.argv == ("trtkit", "bench", "run", "recipe.yaml", "--set", "bench.output=results")
    assert (trial.recipe["engine"]["output"], trial.recipe["checkpoint"]["path"]) == ("bundle", "nvfp4")
    for path in folder.rglob("*.json"):
        assert str(tmp_path) not in path.read_text()
        assert str(Path.home()) not in path.read_text()


def test_finished_trials_of_other_prompts_are_not_taken(bench: Bench) -> None:
    first = bench.run()
    path = first.folder / "trials" / first.trials[0].trial_id
    document = json.loads((path / TRIAL_FILE).read_text())
    (path / TRIAL_FILE).write_text(json.dumps(document | {"prompts_sha256": "0" * 64}))
    with pytest.raises(RecordError, match="it was measured with other prompts than the recipe gives now") as caught:
        bench.run()
    assert caught.value.where == str(path)


def test_a_tampered_trial_is_measured_again(bench: Bench) -> None:
    first = bench.run()
    victim = first.trials[0]
    path = first.folder / "trials" / victim.trial_id / TRIAL_FILE
    document = json.loads(path.read_text())
    document["metrics"]["system_output_throughput_tok_s"] *= 2
    path.write_text(json.dumps(document))
    again = bench.run()
    assert [(trial.point, trial.attempt) for trial in again.trials] == [(victim.point, 2)]


@pytest.mark.parametrize(("file", "data"), [(TRIAL_FILE, b'{"schema_version": 2'), (REQUESTS_FILE, b"changed")])
def test_a_damaged_trial_is_measured_again(bench: Bench, file: str, data: bytes) -> None:
    first = bench.run()
    victim = first.trials[0]
    path = first.folder / "trials" / victim.trial_id / file
    path.write_bytes(data)
    again = bench.run()
    resumed = bench.events[0]
    assert isinstance(resumed, Resumed)
    assert [error.where for error in resumed.damaged] == [str(path)]
    assert [(trial.point, trial.attempt) for trial in again.trials] == [(victim.point, 2)]
    assert path.read_bytes() == data


def test_half_written_leftovers_are_cleaned_and_never_read(bench: Bench) -> None:
    first = bench.run()
    whole = first.folder / "trials" / first.trials[0].trial_id
    leftover = whole.with_name(f".{whole.name}.tmp")
    whole.rename(leftover)
    again = bench.run()
    assert [(trial.point, trial.attempt) for trial in again.trials] == [(first.trials[0].point, 1)]
    assert unfinished(first.folder) == []


@pytest.mark.parametrize(
    ("runner", "runtime", "url", "message"),
    [
        ("engine", "cpu", "127.0.0.1:1", "runner engine measures no server"),
        ("trtllm-bench", "cpu", None, "trtllm-bench measures runtime tensorrt-llm, not cpu"),
    ],
)
def test_what_a_runner_cannot_measure(recipe: Recipe, runner: str, runtime: str, url: str | None, message: str) -> None:
    target = recipe.target.model_copy(update={"runtime": runtime})
    bench = recipe.bench.model_copy(update={"runner": runner})
    with pytest.raises(TrtkitError, match=message):
        run_sweep(recipe.model_copy(update={"target": target, "bench": bench}), url=url)


def test_prompts_are_drawn_before_the_server_starts(bench: Bench) -> None:
    assert bench.recipe.bench.prompts is not None
    bench.recipe.bench.prompts.write_text("w1 w2 w3 w4 w5")
    with pytest.raises(RecipeError, match="after 2 different prompts of 4 tokens no other"):
        bench.run()
    assert bench.served == []


def test_settings_that_the_bundle_was_not_built_from(bench: Bench) -> None:
    engine = bench.recipe.engine.model_copy(update={"max_batch_size": 3})
    bench.recipe = bench.recipe.model_copy(update={"engine": engine})
    with pytest.raises(BundleError, match=r"it was built with another engine\.max_batch_size than the recipe's"):
        bench.run()
    assert not bench.recipe.bench.output.exists()


def test_no_bundle(bench: Bench) -> None:
    (bench.recipe.engine.output / "engine.json").unlink()
    with pytest.raises(BundleError, match="the bundle is unfinished"):
        bench.run()
    assert not bench.recipe.bench.output.exists()


def test_one_run_at_a_time(bench: Bench) -> None:
    def second(event: Event) -> None:
        if isinstance(event, Resumed):
            with pytest.raises(RecordError, match="another run is measuring this sweep"):
                bench.run()
            raise Done

    with pytest.raises(Done):
        bench.run(on_event=second)

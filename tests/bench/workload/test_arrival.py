from __future__ import annotations

import math
import random
import statistics
from collections import Counter
from itertools import pairwise

import pytest

from toolkit.bench.workload import Arrival, ClosedLoop, OpenLoop, Replay, RequestSpec, arrival_of, due_times
from toolkit.errors import RecipeError
from toolkit.recipe.workload import ArrivalSection

COUNT = 20_000
RATE = 50.0
SECOND = 1_000_000_000


def specs(count: int) -> list[RequestSpec]:
    return [RequestSpec(number, (1,), 1) for number in range(count)]


def poisson(count: int = COUNT, rate: float = RATE, seed: int | str = 1) -> tuple[int, ...]:
    return due_times(OpenLoop(rate, "poisson", seed), specs(count))


def gaps_s(times: tuple[int, ...]) -> list[float]:
    return [(later - earlier) / SECOND for earlier, later in pairwise(times)]


def test_gaps_are_exponential() -> None:
    """Kolmogorov and Smirnov against F(t) = 1 − exp(−λ t): √n D is above 1.95 once in a thousand samples."""
    gaps = sorted(gaps_s(poisson()))
    n = len(gaps)
    model = [1 - math.exp(-RATE * gap) for gap in gaps]
    distance = max(max((i + 1) / n - p, p - i / n) for i, p in enumerate(model))
    assert math.sqrt(n) * distance < 1.95


def test_gaps_have_the_rate_and_no_memory() -> None:
    """Mean 1/λ within five standard errors, as much spread as mean, and no correlation with the gap before."""
    gaps = gaps_s(poisson())
    five_errors = 5 / math.sqrt(len(gaps))
    assert abs(statistics.fmean(gaps) * RATE - 1) < five_errors
    # the variance of an exponential's sample deviation is 2 σ² / n
    assert abs(statistics.stdev(gaps) * RATE - 1) < five_errors * math.sqrt(2)
    assert abs(statistics.correlation(gaps[:-1], gaps[1:])) < five_errors


def test_counts_of_equal_windows_are_poisson() -> None:
    """χ² of the arrivals in windows of 0.1 s against e⁻⁵ 5ᵏ / k!, 13 and more as one bin; five σ above its mean."""
    times = poisson()
    windows = times[-1] // (SECOND // 10)
    in_window = Counter(time // (SECOND // 10) for time in times)
    seen = Counter(min(in_window[window], 13) for window in range(windows))
    expected = [windows * math.exp(-5) * 5**k / math.factorial(k) for k in range(13)]
    expected.append(windows - sum(expected))
    chi_square = sum((seen[k] - wanted) ** 2 / wanted for k, wanted in enumerate(expected))
    assert chi_square < 13 + 5 * math.sqrt(26)


def test_the_times_are_these() -> None:
    """On every machine: −ln(1 − u) / λ of Mersenne Twister's numbers for a text seed, to the nanosecond."""
    rng = random.Random("7:2:arrival")
    expected = [0]
    for _ in range(9):
        expected.append(expected[-1] + round(-math.log(1 - rng.random()) / 4 * SECOND))
    assert list(poisson(10, 4.0, "7:2")) == expected


def test_more_requests_start_at_the_same_times() -> None:
    assert poisson(100)[:40] == poisson(40)
    assert poisson(40) != poisson(40, seed=2)


def test_a_constant_rate() -> None:
    """Rounded each by itself: the error does not add up."""
    assert due_times(OpenLoop(3.0, "constant", 0), specs(4)) == (0, 333_333_333, 666_666_667, SECOND)
    assert due_times(OpenLoop(3.0, "constant", 0), specs(30_001))[-1] == 10_000 * SECOND


def test_a_replay_begins_with_its_first_request() -> None:
    trace = [RequestSpec(number, (1,), 1, arrival) for number, arrival in enumerate((2.5, 2.5, 2.75, 4.0))]
    assert due_times(Replay(), trace) == (0, 0, SECOND // 4, 3 * SECOND // 2)


def test_a_replay_without_times() -> None:
    with pytest.raises(RecipeError) as caught:
        due_times(Replay(), specs(2))
    assert str(caught.value) == (
        "bench.arrival: the requests have no arrival times to be sent at. "
        "Give a trace whose lines have arrival_s, or another kind"
    )


def test_no_requests() -> None:
    assert due_times(Replay(), []) == due_times(OpenLoop(1.0, "poisson", 0), []) == ()


@pytest.mark.parametrize(
    ("section", "load", "arrival"),
    [
        (ArrivalSection(), 16, ClosedLoop(16)),
        (ArrivalSection(kind="poisson", rate=(0.5, 2)), 2, OpenLoop(2.0, "poisson", "3:2")),
        (ArrivalSection(kind="constant", rate=(0.5,)), 0.5, OpenLoop(0.5, "constant", "3:2")),
        (ArrivalSection(kind="trace"), 0, Replay()),
    ],
)
def test_a_recipes_arrival(section: ArrivalSection, load: float, arrival: Arrival) -> None:
    assert arrival_of(section, load, seed=3, repeat=2) == arrival

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Iterable
from itertools import islice

import pytest

from toolkit.bench.workload import Lengths, Normal, Uniform, draw_lengths, fixed, lengths_of, longest
from toolkit.errors import RecipeError
from toolkit.recipe.workload import WorkloadSection

UNIFORM = WorkloadSection(kind="uniform", ratio=0.8)
NORMAL = WorkloadSection(kind="normal", stdev=0.1)


def drawn(isl: Lengths, osl: Lengths = fixed(1), count: int = 2000, seed: int = 1) -> list[tuple[int, int]]:  # noqa: B008
    return list(islice(draw_lengths(isl, osl, seed), count))


def chi_square(counts: Counter[int], expected: dict[int, float]) -> float:
    """Σ (seen − expected)² / expected over bins, those with fewer than five expected taken together."""
    assert set(counts) <= set(expected)
    small = [value for value in expected if expected[value] < 5]
    bins = [(counts[value], expected[value]) for value in expected if expected[value] >= 5]
    bins += [(sum(counts[value] for value in small), sum(expected[value] for value in small))] if small else []
    return sum((seen - wanted) ** 2 / wanted for seen, wanted in bins)


def bound(values: Iterable[object]) -> float:
    """Five standard deviations above the mean of χ² with one bin a value: k + 5 √(2 k)."""
    k = len(list(values))
    return k + 5 * (2 * k) ** 0.5


def test_the_draws_are_these() -> None:
    """Mersenne Twister's for a text seed, on every machine; input and output have streams of their own."""
    inputs, outputs = random.Random("7:isl"), random.Random("7:osl")
    expected = [(inputs.randint(3, 60), round(outputs.normalvariate(50, 10))) for _ in range(50)]
    assert all(1 <= osl <= 200 for _, osl in expected)
    assert drawn(Uniform(3, 60), Normal(50, 10, 200), 50, seed=7) == expected


def test_uniform_lengths_are_uniform() -> None:
    counts = Counter(isl for isl, _ in drawn(Uniform(80, 100), count=21_000))
    assert chi_square(counts, dict.fromkeys(range(80, 101), 1000.0)) < bound(range(80, 101))


def test_normal_lengths_have_the_probabilities_of_a_cut_normal() -> None:
    """Against the distribution function: P(k) = (Φ(k + ½) − Φ(k − ½)) / P(70 … 130)."""
    normal = statistics.NormalDist(100, 10)
    whole = normal.cdf(130.5) - normal.cdf(69.5)
    expected = {k: 20_000 * (normal.cdf(k + 0.5) - normal.cdf(k - 0.5)) / whole for k in range(70, 131)}
    counts = Counter(isl for isl, _ in drawn(Normal(100, 10, 130, 70), count=20_000))
    assert chi_square(counts, expected) < bound(expected)


def test_input_and_output_lengths_do_not_depend_on_each_other() -> None:
    """Seeded alike they would be equal here, as with prepare-dataset. 5 standard errors of r are 5 / √2000 = 0.11."""
    pairs = drawn(Normal(500, 100, 1000), Normal(500, 100, 1000))
    assert abs(statistics.correlation(*zip(*pairs, strict=True))) < 0.11


def test_normal_lengths_stay_in_their_range() -> None:
    assert {isl for isl, _ in drawn(Normal(5, 50, 9), count=500)} == set(range(1, 10))


@pytest.mark.parametrize("lengths", [Normal(7, 0, 7), Uniform(7, 7), fixed(7)])
def test_one_length(lengths: Lengths) -> None:
    assert {isl for isl, _ in drawn(lengths, count=50)} == {7}


def test_a_spread_that_fits_nothing_gives_the_mean() -> None:
    """A thousand draws of ± 1e12 are none of 1 to 9."""
    assert [isl for isl, _ in drawn(Normal(5, 1e12, 9), count=2)] == [5, 5]


def test_uniform_lengths_reach_both_ends() -> None:
    assert {isl for isl, _ in drawn(Uniform(3, 6), count=100)} == {3, 4, 5, 6}


@pytest.mark.parametrize(
    ("section", "nominal", "lengths"),
    [
        (WorkloadSection(), 1024, Uniform(1024, 1024)),
        (UNIFORM, 1024, Uniform(819, 1024)),
        (UNIFORM, 1, Uniform(1, 1)),
        (WorkloadSection(kind="uniform", ratio=0.001), 64, Uniform(1, 64)),
        (NORMAL, 1000, Normal(1000, 100.0, 1300, 700)),
        (WorkloadSection(kind="normal", stdev=0), 9, Normal(9, 0.0, 9, 9)),
        (WorkloadSection(kind="normal", stdev=0.33), 2, Normal(2, 0.66, 3, 1)),
    ],
)
def test_a_recipes_lengths(section: WorkloadSection, nominal: int, lengths: Lengths) -> None:
    assert lengths_of(section, nominal) == lengths
    lengths.check("bench.isl")


def test_a_recipes_normal_lengths_keep_their_mean() -> None:
    """Cut on one side alone at 1 and 3 the mean would be above 1.4. Standard error 0.66 / √20000 = 0.005."""
    lengths = lengths_of(WorkloadSection(kind="normal", stdev=0.33), 2)
    assert abs(statistics.fmean(isl for isl, _ in drawn(lengths, count=20_000)) - 2) < 0.025


@pytest.mark.parametrize(("section", "tokens"), [(WorkloadSection(), 300), (UNIFORM, 300), (NORMAL, 390)])
def test_the_longest_request(section: WorkloadSection, tokens: int) -> None:
    assert longest(section, 200, 100) == tokens
    isl, osl = lengths_of(section, 200), lengths_of(section, 100)
    assert max(one + other for one, other in drawn(isl, osl)) <= tokens


@pytest.mark.parametrize(
    ("lengths", "what"),
    [
        (Uniform(0, 5), "lengths from 0 to 5. Write 1 ≤ min ≤ max"),
        (Uniform(6, 5), "lengths from 6 to 5. Write 1 ≤ min ≤ max"),
        (Normal(10, 1, 9), "a mean of 10 ± 1 tokens from 1 to 9. Write 1 ≤ minimum ≤ mean ≤ maximum and stdev ≥ 0"),
        (Normal(5, 1, 9, 0), "a mean of 5 ± 1 tokens from 0 to 9. Write 1 ≤ minimum ≤ mean ≤ maximum and stdev ≥ 0"),
        (Normal(5, 1, 9, 6), "a mean of 5 ± 1 tokens from 6 to 9. Write 1 ≤ minimum ≤ mean ≤ maximum and stdev ≥ 0"),
        (Normal(5, -1, 9), "a mean of 5 ± -1 tokens from 1 to 9. Write 1 ≤ minimum ≤ mean ≤ maximum and stdev ≥ 0"),
    ],
)
def test_lengths_that_cannot_be_drawn(lengths: Lengths, what: str) -> None:
    with pytest.raises(RecipeError) as caught:
        lengths.check("bench.osl")
    assert str(caught.value) == f"bench.osl: {what}"

"""Who takes part and in which arm: by hashes, tested with chi-squared over many seeds."""

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.experiments.allocation import Arm, Sample, Split, check_ratio, drawn, is_held_out, one_of, survival

PEOPLE = [f"P{number:05}" for number in range(1_000)]
SEEDS = [f"seed {number}" for number in range(200)]

# From tables of the chi-squared distribution: value, degrees of freedom, how likely at least that is.
TABLE = [
    (0.455, 1, 0.5),
    (3.841, 1, 0.05),
    (10.828, 1, 0.001),
    (1.386, 2, 0.5),
    (5.991, 2, 0.05),
    (7.815, 3, 0.05),
    (16.266, 3, 0.001),
    (9.488, 4, 0.05),
    (11.070, 5, 0.05),
    (29.588, 10, 0.001),
    (30.144, 19, 0.05),
]


@pytest.mark.parametrize(("value", "degrees", "likely"), TABLE)
def test_the_tail_of_chi_squared_is_that_of_the_tables(value: float, degrees: int, likely: float) -> None:
    assert survival(value, degrees) == pytest.approx(likely, rel=2e-3)
    assert survival(0, degrees) == 1
    assert survival(1e5, degrees) == pytest.approx(0, abs=1e-300)


def test_the_same_everywhere_and_for_ever() -> None:
    """These were written down once: another machine, version of Python or order of people changes none of them."""
    assert [drawn(question, "s", "P1") for question in ("arm", "sample", "holdout")] == [
        2_775_873_571_645_449_095,
        17_715_694_019_298_703_523,
        10_950_213_218_369_350_229,
    ]
    split = Split("spring", [Arm("a"), Arm("b", 2), Arm("c")])
    assert "".join(split.arm_of(f"P{number}") for number in range(24)) == "bacaaacbbcbbbbcbcbbbabbb"


def test_a_larger_sample_contains_the_smaller_one_and_moves_nobody() -> None:
    split = Split("s", [Arm("a"), Arm("b"), Arm("c")])
    before: dict[str, str] = {}
    for size in (1, 10, 100, 500, 999, 1_000, 5_000, None):
        sample = sample_of("s", size)
        arms = {pii_id: split.arm_of(pii_id) for pii_id in PEOPLE if pii_id in sample}
        assert len(arms) == min(size or 1_000, 1_000)
        assert before.items() <= arms.items()
        before = arms


def sample_of(seed: str, size: int | None) -> Sample:
    sample = Sample(seed, size)
    for pii_id in PEOPLE:
        sample.show(pii_id)
    return sample


@given(st.lists(st.text(), unique=True, max_size=40), st.integers(1, 50), st.text(max_size=5), st.randoms())
def test_a_sample_is_the_lowest_by_hash_in_any_order(
    people: list[str], size: int, seed: str, chance: random.Random
) -> None:
    wanted = set(sorted(people, key=lambda pii_id: (drawn("sample", seed, pii_id), pii_id))[:size])
    chance.shuffle(people)
    sample = Sample(seed, size)
    for pii_id in people:
        sample.show(pii_id)
    found = {pii_id for pii_id in people if pii_id in sample}
    ranked = {drawn("sample", seed, pii_id) for pii_id in people}
    assert len(found) == len(sample) == min(size, len(people))
    if len(ranked) == len(people):
        assert found == wanted


def test_arms_get_their_shares_over_many_seeds() -> None:
    """A test of tests: over 200 seeds, p-values of the split against its weights are themselves evenly spread."""
    arms = [Arm("a"), Arm("b", 2), Arm("c", 0.5)]
    values = []
    for seed in SEEDS:
        counts = Counter(map(Split(seed, arms).arm_of, PEOPLE[:700]))
        ratio = check_ratio(counts, {arm.name: arm.weight for arm in arms})
        assert ratio is not None
        values.append(ratio.p_value)
    assert_even(values)


def test_arms_are_independent_of_the_sample_and_of_the_holdout() -> None:
    """For each seed, a contingency table of arm against being sampled, and against being held out."""
    by_sample, by_holdout = [], []
    for seed in SEEDS:
        split, sample = Split(seed, [Arm("a"), Arm("b"), Arm("c")]), sample_of(seed, 300)
        arms = {pii_id: split.arm_of(pii_id) for pii_id in PEOPLE}
        by_sample.append(independence([(arms[pii_id], pii_id in sample) for pii_id in PEOPLE]))
        by_holdout.append(independence([(arms[pii_id], is_held_out(seed, pii_id, 0.2)) for pii_id in PEOPLE]))
    assert_even(by_sample)
    assert_even(by_holdout)


def test_seeds_are_independent_of_each_other() -> None:
    arms = [Arm("a"), Arm("b")]
    values = [
        independence([(Split(seed, arms).arm_of(pii_id), Split(other, arms).arm_of(pii_id)) for pii_id in PEOPLE[:500]])
        for seed, other in itertools.pairwise(SEEDS)
    ]
    assert_even(values)


def test_the_holdout_has_its_share() -> None:
    counts = [sum(is_held_out(seed, pii_id, 0.25) for pii_id in PEOPLE) for seed in SEEDS]
    assert sum(counts) / len(SEEDS) / len(PEOPLE) == pytest.approx(0.25, abs=0.003)
    assert not any(is_held_out("s", pii_id, 0) for pii_id in PEOPLE)


def test_who_stands_in_several_cohorts_goes_to_each_as_likely() -> None:
    counts = Counter(one_of(seed, "P1", ["b", "a", "c"]) for seed in SEEDS)
    ratio = check_ratio(counts, {"a": 1, "b": 1, "c": 1})
    assert ratio is not None
    assert ratio.p_value > 0.001
    assert all(one_of(seed, "P1", ["a", "b"]) == one_of(seed, "P1", ["b", "a"]) for seed in SEEDS)


def test_the_check_of_ratios_sees_what_is_wrong_and_nothing_else() -> None:
    even = {"a": 1.0, "b": 1.0}
    wrong, right = check_ratio({"a": 5_300, "b": 4_700}, even), check_ratio({"a": 5_050, "b": 4_950}, even)
    assert wrong is not None
    assert right is not None
    assert (wrong.is_suspicious, right.is_suspicious) == (True, False)
    assert wrong.chi_squared == pytest.approx(36)
    assert wrong.expected == {"a": 5_000, "b": 5_000}
    assert check_ratio({}, even) is None
    assert check_ratio({"a": 3}, {"a": 1.0}) is None


def independence(pairs: list[tuple[object, object]]) -> float:
    """The p-value of Pearson's test that the two of each pair have nothing to do with each other."""
    cells, rows, columns = Counter(pairs), Counter(row for row, _ in pairs), Counter(column for _, column in pairs)
    chi_squared = 0.0
    for row, column in ((row, column) for row in rows for column in columns):
        expected = rows[row] * columns[column] / len(pairs)
        chi_squared += (cells[row, column] - expected) ** 2 / expected
    return survival(chi_squared, (len(rows) - 1) * (len(columns) - 1))


def assert_even(p_values: list[float]) -> None:
    """By chance alone p-values are spread evenly: a chi-squared test over ten bins, and none too small."""
    bins = Counter(min(9, int(value * 10)) for value in p_values)
    expected = len(p_values) / 10
    statistic = math.fsum((bins[number] - expected) ** 2 / expected for number in range(10))
    assert survival(statistic, 9) > 0.0005, bins
    assert min(p_values) > 1e-5

"""Shares and orders of any agents and numbers of leads, against the definitions themselves."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import islice

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from muster.agents.strategies import STRATEGIES, Strategy, after, deal, fairness, quotas, within_a_period

WEIGHTS = st.lists(st.integers(0, 5) | st.integers(0, 1_000), min_size=1, max_size=12).filter(any)
EQUALS = st.lists(st.sampled_from([0, 1, 2, 7, 20, 30, 50]), min_size=1, max_size=30).filter(any)
LEADS = st.integers(0, 120)

# However busy the machine is.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def order(weights: Sequence[int], leads: int) -> list[int]:
    return list(deal(weights, [0] * len(weights), quotas(weights, leads)))


def furthest_from_the_share(weights: Sequence[int], dealt: Sequence[int]) -> Fraction:
    """The largest distance, after any lead, of any agent from its exact share."""
    counts, furthest = [0] * len(weights), Fraction(0)
    for number, agent in enumerate(dealt, 1):
        counts[agent] += 1
        distances = (
            abs(count - Fraction(number * weight, sum(weights))) for count, weight in zip(counts, weights, strict=True)
        )
        furthest = max(furthest, *distances)
    return furthest


def can_be_within_one(weights: Sequence[int], leads: int) -> bool:
    """Whether any order has these quotas and every prefix within one: each prefix must have enough who may have more.

    After k leads nobody may have more than ⌈k · share⌉, nor than the quota.
    """
    total, ends = sum(weights), quotas(weights, leads)
    return all(
        sum(min(end, -(-number * weight // total)) for end, weight in zip(ends, weights, strict=True)) >= number
        for number in range(1, leads + 1)
    )


@unhurried
@given(WEIGHTS | EQUALS, LEADS)
def test_the_sum_is_exact_and_each_share_within_one(weights: list[int], leads: int) -> None:
    shares = quotas(weights, leads)
    assert sum(shares) == leads
    for each in fairness(weights, shares):
        assert abs(each.leads - each.share) < 1
    assert all(share == 0 for share, weight in zip(shares, weights, strict=True) if not weight)


@unhurried
@given(WEIGHTS | EQUALS, LEADS)
def test_the_largest_remainders_are_rounded_up_and_ties_go_by_order(weights: list[int], leads: int) -> None:
    exact = [Fraction(leads * weight, sum(weights)) for weight in weights]
    up = [agent for agent, share in enumerate(quotas(weights, leads)) if share > int(exact[agent])]
    remainders = {agent: exact[agent] - int(exact[agent]) for agent in range(len(weights))}
    first = sorted(remainders, key=lambda agent: (-remainders[agent], agent))[: len(up)]
    assert sorted(first) == up


@settings(unhurried, max_examples=300)
@given(WEIGHTS | EQUALS, LEADS)
def test_every_prefix_is_as_fair_as_whole_numbers_allow(weights: list[int], leads: int) -> None:
    """Within one of the exact share, per agent, wherever any order is; elsewhere within two."""
    dealt = order(weights, leads)
    assert [dealt.count(agent) for agent in range(len(weights))] == quotas(weights, leads)
    assert furthest_from_the_share(weights, dealt) < (1 if can_be_within_one(weights, leads) else 2)


@unhurried
@given(st.lists(st.integers(1, 100), min_size=1, max_size=5), LEADS)
def test_a_few_agents_are_always_within_one(weights: list[int], leads: int) -> None:
    assert furthest_from_the_share(weights, order(weights, leads)) < 1


@unhurried
@given(WEIGHTS | EQUALS, LEADS)
def test_an_endless_deal_is_within_one_for_ever(weights: list[int], leads: int) -> None:
    none = [0] * len(weights)
    dealt = list(islice(deal(weights, none), leads))
    assert furthest_from_the_share(weights, dealt) < 1
    counts = [dealt.count(agent) for agent in range(len(weights))]
    assert after(weights, none, leads) == counts
    going_on = list(islice(deal(weights, counts), 30))
    assert list(islice(deal(weights, within_a_period(weights, counts)), 30)) == going_on
    assert list(islice(deal(weights, none), leads + 30)) == dealt + going_on


@unhurried
@given(WEIGHTS | EQUALS, LEADS, st.data())
def test_a_deal_goes_on_where_it_broke_off(weights: list[int], leads: int, data: st.DataObject) -> None:
    dealt, ends = order(weights, leads), quotas(weights, leads)
    broke_off = data.draw(st.integers(0, leads))
    counts = [dealt[:broke_off].count(agent) for agent in range(len(weights))]
    assert list(deal(weights, counts, ends)) == dealt[broke_off:]


@unhurried
@given(EQUALS, LEADS, st.randoms())
def test_changing_equal_agents_over_changes_nothing_but_names(weights: list[int], leads: int, random: object) -> None:
    """Of agents who weigh the same, the first in order has the first turn, whoever it is."""
    dealt = order(weights, leads)
    places = list(range(len(weights)))
    random.shuffle(places)  # type: ignore[attr-defined]
    by_weight = {weight: sorted(place for place in places if weights[place] == weight) for weight in weights}
    renamed = [by_weight[weights[place]].pop(0) for place in range(len(weights))]
    assert order([weights[place] for place in renamed], leads) == dealt


@unhurried
@given(WEIGHTS, st.integers(0, 300), st.data())
def test_nobody_gets_more_than_the_limit(weights: list[int], leads: int, data: st.DataObject) -> None:
    """And nothing is held back that somebody with weight could take."""
    limits = data.draw(st.lists(st.integers(0, 60), min_size=len(weights), max_size=len(weights)))
    shares = quotas(weights, leads, limits)
    room = sum(limit for limit, weight in zip(limits, weights, strict=True) if weight)
    assert all(share <= limit for share, limit in zip(shares, limits, strict=True))
    assert sum(shares) == min(leads, room)
    assert furthest_from_the_share(shares, list(deal(shares, [0] * len(shares), shares))) < 1 if any(shares) else True


@unhurried
@given(st.integers(1, 20), LEADS)
def test_equal_weights_go_round(agents: int, leads: int) -> None:
    weights = STRATEGIES[Strategy.ROUND_ROBIN]([7] * agents)
    assert order(weights, leads) == [number % agents for number in range(leads)]


@unhurried
@given(WEIGHTS)
def test_no_leads_and_one_agent(weights: list[int]) -> None:
    assert order(weights, 0) == []
    assume(weights[0])
    assert order(weights[:1], 5) == [0] * 5


def test_the_shares_of_the_issue() -> None:
    """7 over 50/30/20: 3.5, 2.1 and 1.4 round down to 3, 2 and 1; the one that is left goes to the remainder of 0.5."""
    weights = STRATEGIES[Strategy.CAPACITY_WEIGHTED]([50, 30, 20])
    assert quotas(weights, 100) == [50, 30, 20]
    assert quotas(weights, 7) == [4, 2, 1]
    assert "".join("ABC"[agent] for agent in order(weights, 10)) == "ABACABABAC"


def test_many_small_agents_can_make_it_impossible() -> None:
    """Four with 21 % each and seventeen with under one lead in all: by largest remainder the four get all of twenty."""
    weights = [210] * 4 + [10] * 7 + [9] * 10
    assert quotas(weights, 20)[:4] == [5] * 4
    assert not can_be_within_one(weights, 20)
    assert 1 < furthest_from_the_share(weights, order(weights, 20)) < 2

"""How leads are dealt to agents: pure arithmetic with whole numbers, no I/O.

A strategy only says how much each agent weighs. `quotas` makes whole numbers of the shares, by largest remainder, and
`deal` puts them in an order in which every prefix is as fair as whole numbers allow. Agents are places in a list.

The order is the earliest due turn first. The i-th turn of an agent with the share s may begin at the first lead that
would otherwise leave it i - 1 or more of a whole turn behind, and is due at the last lead before it would be a whole
turn behind: leads ⌊(i-1)/s⌋ + 1 to ⌈i/s⌉. Whoever keeps to these windows is less than one lead away from the exact
share after every lead, on either side, and earliest due first finds such an order wherever there is one. For equal
weights it is the round robin.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from heapq import heapify, heappop, heappush
from itertools import islice
from math import gcd

Weigh = Callable[[Sequence[int]], list[int]]
"""From the daily capacities of agents to what each of them weighs."""


class Strategy(StrEnum):
    """How leads are shared."""

    ROUND_ROBIN = "round_robin"
    CAPACITY_WEIGHTED = "capacity_weighted"


STRATEGIES: Mapping[Strategy, Weigh] = {
    Strategy.ROUND_ROBIN: lambda capacities: [1] * len(capacities),
    Strategy.CAPACITY_WEIGHTED: list,
}


def quotas(weights: Sequence[int], leads: int, limits: Sequence[int] | None = None) -> list[int]:
    """How many leads each agent gets, by largest remainder; ties go to who stands first. The sum is exact.

    Nobody gets more than their limit. What is over goes to the others by their weights, so the sum is smaller only
    where all are at their limits.
    """
    found, open_agents = [0] * len(weights), [weight > 0 for weight in weights]
    while leads and any(open_agents):
        shares = _by_largest_remainder(
            [weight if is_open else 0 for weight, is_open in zip(weights, open_agents, strict=True)], leads
        )
        full = [agent for agent, share in enumerate(shares) if limits is not None and share > limits[agent]]
        if not full or limits is None:
            return [share if is_open else had for share, is_open, had in zip(shares, open_agents, found, strict=True)]
        for agent in full:
            found[agent], open_agents[agent] = limits[agent], False
            leads -= limits[agent]
    return found


def _by_largest_remainder(weights: Sequence[int], leads: int) -> list[int]:
    total = sum(weights)
    shares = [leads * weight // total for weight in weights]
    remainders = [leads * weight % total for weight in weights]
    largest_first = sorted(range(len(weights)), key=lambda agent: -remainders[agent])  # stable: ties by agent order
    for agent in largest_first[: leads - sum(shares)]:
        shares[agent] += 1
    return shares


def deal(weights: Sequence[int], dealt: Sequence[int], ends: Sequence[int] | None = None) -> Iterator[int]:
    """Who gets the next lead, and the next … when so many leads were `dealt` before.

    Endless; with `ends`, quotas of these weights, until everybody has as many as they say. So the same arguments go on
    exactly where a deal broke off.

    Quotas can ask for more than the windows allow, where many agents get none of their small shares. Then the turn is
    given that is least ahead of its time.
    """
    total, counts, position = sum(weights), list(dealt), sum(dealt)
    last = None if ends is None else sum(ends)

    def turn_of(agent: int) -> tuple[int, int, int] | None:
        turn, weight = counts[agent] + 1, weights[agent]
        if not weight or (ends is not None and turn > ends[agent]):
            return None
        due = -(-turn * total // weight)
        return (turn - 1) * total // weight + 1, due if last is None else min(due, last), agent

    early = [turn for agent in range(len(weights)) if (turn := turn_of(agent))]
    heapify(early)
    due_first: list[tuple[int, int]] = []
    while early or due_first:
        position += 1
        while early and early[0][0] <= position:
            _, due, agent = heappop(early)
            heappush(due_first, (due, agent))
        if due_first:
            _, agent = heappop(due_first)
        else:
            chosen = min(early, key=lambda turn: ((counts[turn[2]] + 1) * total - position * weights[turn[2]], turn[2]))
            early.remove(chosen)
            heapify(early)
            agent = chosen[2]
        counts[agent] += 1
        if turn := turn_of(agent):
            heappush(early, turn)
        yield agent


def after(weights: Sequence[int], dealt: Sequence[int], leads: int) -> list[int]:
    """How many were dealt when an endless deal has gone on for so many leads."""
    period, counts = sum(weights) // _common(weights), list(dealt)
    # After each period everybody has exactly their share of it.
    for agent in islice(deal(weights, dealt), leads % period):
        counts[agent] += 1
    whole = leads // period
    return [count + whole * (weight // _common(weights)) for count, weight in zip(counts, weights, strict=True)]


def within_a_period(weights: Sequence[int], dealt: Sequence[int]) -> list[int]:
    """The same place in an endless deal, without the whole periods that lie behind it."""
    whole = sum(dealt) // (sum(weights) // _common(weights))
    return [count - whole * (weight // _common(weights)) for count, weight in zip(dealt, weights, strict=True)]


def _common(weights: Sequence[int]) -> int:
    return gcd(*weights) or 1


@dataclass(frozen=True, slots=True)
class Fairness:
    """What one agent got, beside the exact share of all that was dealt."""

    leads: int
    share: Fraction

    @property
    def deviation(self) -> float:
        """In leads; positive for who got more than the share."""
        return float(self.leads - self.share)


def fairness(weights: Sequence[int], counts: Sequence[int]) -> list[Fairness]:
    """What each agent got against the exact share, by weight, of the sum."""
    leads, total = sum(counts), sum(weights)
    return [
        Fairness(count, Fraction(leads * weight, total) if total else Fraction(0))
        for count, weight in zip(counts, weights, strict=True)
    ]

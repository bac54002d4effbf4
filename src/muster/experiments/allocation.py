"""Who takes part in an experiment, and in which arm: pure arithmetic on hashes, the same on every machine.

Every question has a hash of its own, over the seed and the `pii_id`. So whether somebody is in the sample tells nothing
about the arm, a larger sample contains the smaller one, and nobody's answer depends on who else is there.
"""

import hashlib
import heapq
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

SPAN = 2**64
TOO_UNLIKELY = 0.001  # a ratio that chance brings about less often than this is no chance


@dataclass(frozen=True, slots=True)
class Arm:
    """One branch of an experiment, and its share of the personas relative to the other arms'."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Ratio:
    """A sample-ratio check: how many were seen in each arm, how many were to be expected, and how likely that is."""

    observed: Mapping[str, int]
    expected: Mapping[str, float]
    chi_squared: float
    degrees_of_freedom: int
    p_value: float

    @property
    def is_suspicious(self) -> bool:
        """Whether something else than chance has a hand in it: then compare the arms no further."""
        return self.p_value < TOO_UNLIKELY


def drawn(question: str, seed: str, pii_id: str) -> int:
    """A number below SPAN, evenly distributed, that only these three decide."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (question, seed, pii_id):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8) + encoded)
    return int.from_bytes(digest.digest())


def is_held_out(seed: str, pii_id: str, share: float) -> bool:
    """Whether somebody is among the share that takes no part, to be compared with later."""
    return drawn("holdout", seed, pii_id) < share * SPAN


class Sample:
    """The `size` lowest of all whom it was shown, by their hash; None takes everybody.

    Show everybody first, then ask. Memory grows with the sample, not with those who are shown.
    """

    def __init__(self, seed: str, size: int | None) -> None:
        self._seed = seed
        self._size = size
        self._kept: list[tuple[int, str]] = []  # a heap of the lowest, the highest of them on top: hashes negated
        self._shown = 0

    def show(self, pii_id: str) -> None:
        """Let somebody take part in the drawing."""
        self._shown += 1
        if self._size is None:
            return
        rank = (-drawn("sample", self._seed, pii_id), pii_id)
        if len(self._kept) < self._size:
            heapq.heappush(self._kept, rank)
        elif rank > self._kept[0]:
            heapq.heapreplace(self._kept, rank)

    def __contains__(self, pii_id: str) -> bool:
        if self._size is None:
            return True
        return bool(self._kept) and (-drawn("sample", self._seed, pii_id), pii_id) >= self._kept[0]

    def __len__(self) -> int:
        return self._shown if self._size is None else len(self._kept)


class Split:
    """Sends everybody to one of the arms, in proportion to their weights."""

    def __init__(self, seed: str, arms: Sequence[Arm]) -> None:
        self._seed = seed
        self._names = [arm.name for arm in arms]
        total = math.fsum(arm.weight for arm in arms)
        self._ends = [end / total * SPAN for end in accumulate(arm.weight for arm in arms)]

    def arm_of(self, pii_id: str) -> str:
        """The arm of somebody."""
        place = bisect_right(self._ends, drawn("arm", self._seed, pii_id))
        return self._names[min(place, len(self._names) - 1)]


def one_of(seed: str, pii_id: str, choices: Sequence[str]) -> str:
    """One of several, each as likely: for somebody who stands in more cohorts than one that are arms."""
    return min(sorted(choices), key=lambda choice: drawn(f"choice {choice}", seed, pii_id))


def check_ratio(observed: Mapping[str, int], weights: Mapping[str, float]) -> Ratio | None:
    """Pearson's chi-squared test of the numbers against the weights; None where there is nothing to compare."""
    weights = {name: weight for name, weight in weights.items() if weight > 0}
    count, total = sum(observed.get(name, 0) for name in weights), math.fsum(weights.values())
    if len(weights) < 2 or not count:
        return None
    expected = {name: count * weight / total for name, weight in weights.items()}
    seen = {name: observed.get(name, 0) for name in weights}
    chi_squared = math.fsum((seen[name] - expected[name]) ** 2 / expected[name] for name in weights)
    degrees = len(weights) - 1
    return Ratio(seen, expected, chi_squared, degrees, survival(chi_squared, degrees))


def survival(chi_squared: float, degrees: int) -> float:
    """How likely a chi-squared value at least this large is by chance: the closed forms for whole degrees of freedom.

    1 degree: erfc(√y), 2 degrees: exp(-y), with y half the value; two more degrees add one more term.
    """
    half = chi_squared / 2
    if half <= 0:
        return 1.0
    tail = math.erfc(math.sqrt(half)) if degrees % 2 else 0.0
    exponents: Iterable[float] = (number / 2 for number in range(degrees % 2, degrees, 2))
    terms = [math.exp(power * math.log(half) - half - math.lgamma(power + 1)) for power in exponents]
    if degrees % 2:  # the terms begin at 1/2: y^(1/2) / Γ(3/2)
        return min(1.0, tail + math.fsum(terms))
    return min(1.0, math.fsum(terms))

"""How far an assignment has come: the checkpoint of its job, and what its result says."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from muster.agents.asked import Asked
from muster.agents.cascade import Outcome
from muster.agents.dealing import Deal
from muster.agents.strategies import fairness
from muster.records.rolls import Roll


@dataclass(slots=True)
class Course:
    """Places 0 to `leads` of the roll are leads, of which the first `limit` are dealt; behind them come members
    without a lead. Lists are by agent, in the job's order.
    """

    roll: Roll
    leads: int
    others: int
    weights: list[int]  # as they are dealt by
    ends: list[int] | None
    limit: int
    dealt: list[int]  # up to `place`, with what a rotation had dealt before
    tasks: list[dict[str, Any]]
    left_alone: int = 0
    place: int = 0
    assigned: list[int] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    reassigned: int = 0
    unassigned: int = 0
    failed: int = 0
    rounds: int = 0  # of failures tried again, done
    tried_again: str = ""  # in this round, up to this one
    dealt_later: list[int] = field(default_factory=list)  # to members that had no lead at first

    @classmethod
    def begin(
        cls, roll: Roll, deal: Deal, *, leads: int, others: int, left_alone: int, tasks: list[dict[str, Any]]
    ) -> Self:
        """Before the first lead."""
        none = [0] * len(deal.weights)
        return cls(
            roll=roll,
            leads=leads,
            others=others,
            weights=deal.weights,
            ends=deal.ends,
            limit=deal.limit,
            dealt=list(deal.dealt),
            tasks=tasks,
            left_alone=left_alone,
            assigned=list(none),
            unchanged=list(none),
            dealt_later=list(none),
        )

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """As it came out of a checkpoint."""
        return cls(**{**stored, "roll": Roll.of(stored["roll"])})

    def stored(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return asdict(self)

    def copy(self) -> Self:
        """One that may change while this one stays."""
        return deepcopy(self)

    @property
    def total(self) -> int:
        """All places."""
        return self.leads + self.others

    def book(self, agent: int | None, outcome: Outcome | None) -> None:
        """Count what became of a lead that was dealt to an agent, or to nobody; without an outcome it waits."""
        match outcome:
            case Outcome.ASSIGNED | Outcome.REASSIGNED:
                self.assigned[agent or 0] += 1
                self.reassigned += outcome is Outcome.REASSIGNED
            case Outcome.UNCHANGED:
                self.unchanged[agent or 0] += 1
            case Outcome.LEFT_ALONE:
                self.left_alone += 1
            case Outcome.FAILED:
                self.failed += 1
            case None:
                self.unassigned += 1

    def result(self, asked: Asked) -> dict[str, Any]:
        """What the job says so far."""
        with_each = [new + old for new, old in zip(self.assigned, self.unchanged, strict=True)]
        return {
            "cohort_id": asked.cohort_id,
            "strategy": asked.strategy.value,
            **counts_of(asked, with_each),
            "assigned_count": sum(self.assigned),
            "unchanged": sum(self.unchanged),
            "reassigned": self.reassigned,
            "left_alone": self.left_alone,
            "unassigned_count": self.unassigned,
            "failed_count": self.failed,
        }


def counts_of(asked: Asked, leads: Sequence[int]) -> dict[str, Any]:
    """How many leads are with each agent, and how fair that is by the strategy."""
    shares = fairness(asked.weights, leads)
    return {
        "per_agent": dict(zip(asked.agent_ids, leads, strict=True)),
        "fairness": {
            "agents": [
                {
                    "agent_id": agent.id,
                    "leads": share.leads,
                    "share": round(float(share.share), 6),
                    "daily_capacity": agent.capacity,
                    "deviation": round(share.deviation, 6),
                }
                for agent, share in zip(asked.agents, shares, strict=True)
            ],
            "maximum_deviation": round(max((abs(share.deviation) for share in shares), default=0.0), 6),
        },
    }

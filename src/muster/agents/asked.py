"""What an assignment was asked to do, as its job's arguments hold it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from muster.agents.documents import Agent
from muster.agents.schemas import AssignIn
from muster.agents.strategies import STRATEGIES, Strategy


@dataclass(frozen=True, slots=True)
class Taker:
    """An agent of a job, with the daily capacity that it had when the job was made."""

    id: str
    capacity: int


@dataclass(frozen=True, slots=True)
class Asked:
    """An assignment."""

    cohort_id: str
    agents: Sequence[Taker]
    strategy: Strategy
    reassign: bool
    goes_on: bool  # where the last job with these agents stopped
    respect_capacity: bool

    @classmethod
    def from_body(cls, cohort_id: str, body: AssignIn, agents: Sequence[Agent]) -> Self:
        """As a request says it."""
        return cls(
            cohort_id=cohort_id,
            agents=[Taker(agent.agent_id, agent.daily_capacity) for agent in agents],
            strategy=body.strategy,
            reassign=body.reassign,
            goes_on=body.rotation == "continue",
            respect_capacity=body.respect_capacity,
        )

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """As it came out of a job's arguments."""
        agents = [Taker(**taker) for taker in stored["agents"]]
        return cls(**{**stored, "agents": agents, "strategy": Strategy(stored["strategy"])})

    def as_arguments(self) -> dict[str, Any]:
        """As a job's arguments hold it."""
        return asdict(self) | {"strategy": self.strategy.value}

    @property
    def agent_ids(self) -> list[str]:
        """In the order in which leads are dealt."""
        return [agent.id for agent in self.agents]

    @property
    def weights(self) -> list[int]:
        """What each agent weighs."""
        return STRATEGIES[self.strategy]([agent.capacity for agent in self.agents])

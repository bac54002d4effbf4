"""What `/metrics` says about assignments."""

from prometheus_client import Gauge

from muster.agents.assigning import KIND
from muster.agents.documents import Agent, WaitingLead
from muster.jobs.documents import UNFINISHED, Job

_AGENTS = Gauge("muster_agents", "Agents that may be handed leads")
_UNFINISHED = Gauge("muster_assignments_unfinished", "Assignment jobs that have not ended")
_WAITING = Gauge("muster_assignments_waiting_leads", "Leads for which no capacity was left")


async def measure() -> None:
    """Bring them up to date."""
    _AGENTS.set(await Agent.get_motor_collection().count_documents({"active": True}))
    _UNFINISHED.set(
        await Job.get_motor_collection().count_documents({"kind": KIND, "state": {"$in": list(UNFINISHED)}})
    )
    _WAITING.set(await WaitingLead.get_motor_collection().estimated_document_count())

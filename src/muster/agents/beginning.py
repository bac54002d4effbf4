"""How an assignment begins: its members are frozen, and it is decided who is dealt how many."""

import time

from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.agents.asked import Asked
from muster.agents.course import Course, counts_of
from muster.agents.dealing import begin, decide
from muster.agents.documents import Agent
from muster.agents.freezing import Members, Spool, read_members
from muster.agents.schemas import DryRunOut
from muster.agents.strategies import deal
from muster.agents.tasks import template_of
from muster.cohorts.generations import server_time
from muster.cohorts.snapshot import open_snapshot
from muster.jobs.working import Claimed
from muster.projects.documents import Project
from muster.records import rolls
from muster.records.rolls import RollWriter
from muster.transactions import commit

REPORT_EVERY = 0.3  # seconds


async def freeze(claimed: Claimed, asked: Asked, project: Project, session: AsyncIOMotorClientSession) -> Course:
    """Put the members on a roll, and decide who is dealt how many: the first checkpoint, by a transaction."""
    job = claimed.job
    await rolls.drop(*(_roll_id(job.id, fence) for fence in range(1, claimed.fence)))
    reported = time.monotonic()

    async def report(seen: int) -> None:
        """Of how many members it is known by now that there are."""
        nonlocal reported
        if time.monotonic() - reported > REPORT_EVERY:
            reported = time.monotonic()
            await claimed.progress(0, seen)

    with Spool() as leads, Spool() as others:
        members = Members(leads, others)
        async with open_snapshot() as snapshot:
            await read_members(asked, members, snapshot, report)
        writer = RollWriter(project.id, id=_roll_id(job.id, claimed.fence))
        async for batch in members.in_order():
            await writer.add([lead.pii_id for lead in batch])
            await report(leads.count + others.count)
        async for pii_ids in others.batches():
            await writer.add(pii_ids)
        roll = await writer.close()

    async def first_checkpoint(inside: AsyncIOMotorClientSession) -> Course:
        template = await template_of(project.id, inside)
        dealt = await begin(project, job.id, asked, leads.count, now=await server_time(), session=inside)
        course = Course.begin(
            *(roll, dealt),
            leads=leads.count,
            others=others.count,
            left_alone=members.left_alone,
            tasks=[task.model_dump() for task in template.tasks],
        )
        await claimed.checkpoint(course.stored(), session=inside)
        return course

    return await commit(session, first_checkpoint)


async def dry_run(project: Project, asked: Asked) -> DryRunOut:
    """What the assignment would do, were it to begin now. Raises NotFound, Conflict."""
    with Spool() as leads, Spool() as others:
        members = Members(leads, others)
        async with open_snapshot() as snapshot:
            await read_members(asked, members, snapshot)
        async with await Agent.get_motor_collection().database.client.start_session() as session:
            dealt, _ = await decide(project, asked, leads.count, now=await server_time(), session=session)
        dealer = deal(dealt.weights, dealt.dealt, dealt.ends)
        counts, unchanged, reassigned, left_alone, place = [0] * len(asked.agents), 0, 0, members.left_alone, 0
        async for batch in members.in_order():
            for lead in batch:
                place += 1
                if place > dealt.limit:
                    left_alone += lead.owner is not None
                    continue
                agent = next(dealer)
                counts[agent] += 1
                unchanged += lead.owner == agent
                reassigned += lead.owner is not None and lead.owner != agent
        said = counts_of(asked, counts)
        return DryRunOut(
            **said,
            assigned_count=sum(counts) - unchanged,
            unchanged=unchanged,
            reassigned=reassigned,
            left_alone=left_alone,
            unassigned_count=leads.count - dealt.limit - (left_alone - members.left_alone),
            failed_count=others.count,
        )


def _roll_id(job_id: str, fence: int) -> str:
    return f"{job_id}:{fence}"

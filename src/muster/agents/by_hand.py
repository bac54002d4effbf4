"""Follows who else writes `lead.agent_id`: REST, an import, another system. Pipeline entries come to say the same.

Jobs write a lead and its entry in one transaction, everybody else writes the lead alone. So this looks at what was
written outside of transactions: the open entry of another agent is closed, with its open tasks, and one is opened for
the agent of now, if the project knows it. One process at a time does it, under a lease; its position is kept in the
transaction of what it did, so whatever is killed, nothing is left out. While there are no agents it follows nothing.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId, Timestamp
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.change_stream import ChangeStream
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from muster.agents import cascade
from muster.agents.documents import Agent, FollowState, Pipeline, Reason
from muster.agents.patience import patiently
from muster.agents.service import agents_of
from muster.cohorts.generations import server_time
from muster.cohorts.stream import AWAIT_MS, Event, ReadAhead, StreamEnded, deployment_of_profiles
from muster.jobs import leases
from muster.jobs.documents import Lease
from muster.records.documents import Profile
from muster.settings import Settings
from muster.transactions import end_session, name_of

STATE = LEASE = "agents"
LEASE_TTL = timedelta(seconds=10)
LOOK_EVERY = 0.5  # seconds, while there are no agents or another process follows
SAVE_EVERY = 5.0  # seconds, where nothing happens; less than the lease lasts
AT_ONCE = 500  # leads

_CHANGED = {
    "$concatArrays": [
        {
            "$map": {
                "input": {"$objectToArray": {"$ifNull": ["$updateDescription.updatedFields", {}]}},
                "in": "$$this.k",
            }
        },
        {"$ifNull": ["$updateDescription.removedFields", []]},
    ]
}
# Computed first: what `$match` says of `txnNumber` itself is asked of the oplog, where every retryable write has one.
_PIPELINE: Sequence[Mapping[str, Any]] = (
    {
        "$project": {
            "operationType": 1,
            "documentKey": 1,
            "wallTime": 1,
            "by_a_job": {"$ne": [{"$type": "$txnNumber"}, "missing"]},
            "concerns_us": {
                "$switch": {
                    "branches": [
                        {
                            "case": {"$eq": ["$operationType", "update"]},
                            "then": {"$ne": [{"$setIntersection": [_CHANGED, ["lead", "lead.agent_id"]]}, []]},
                        },
                        {
                            "case": {"$eq": ["$operationType", "insert"]},
                            "then": {"$ne": [{"$type": "$fullDocument.lead.agent_id"}, "missing"]},
                        },
                    ],
                    "default": {"$ne": ["$operationType", "delete"]},
                }
            },
        }
    },
    {"$match": {"by_a_job": False, "concerns_us": True}},
)

_log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another process follows by now."""


class Changes(ReadAhead[Event]):
    """The change stream of profiles whose agent may have changed, from a position or else a time on."""

    def __init__(self, token: Mapping[str, Any] | None, start_at: Timestamp | None) -> None:
        super().__init__(token)
        self._start_at = None if token else start_at

    def _watch(self) -> "ChangeStream[dict[str, Any]]":
        collection: Collection[dict[str, Any]] = Profile.get_motor_collection().delegate
        return collection.watch(
            list(_PIPELINE),
            resume_after=self.token,
            start_at_operation_time=self._start_at,
            max_await_time_ms=AWAIT_MS,
        )

    def _event(self, document: Mapping[str, Any]) -> Event:
        if document["operationType"] not in {"insert", "update", "replace"}:
            raise StreamEnded(f"the collection of profiles is gone ({document['operationType']})")
        return Event(document["documentKey"]["_id"], None, document["_id"], document["wallTime"])


async def follow(_settings: Settings, holder: str | None = None) -> None:
    """Follow for ever, or stand by while another process does. Cancel to stop; the lease is given back."""
    holder = holder or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    while True:
        lease = await leases.take(LEASE, holder, LEASE_TTL) if await _oldest_agent() else None
        if lease is None:
            await asyncio.sleep(LOOK_EVERY)
            continue
        try:
            await Follower(lease).work()
        except LeaseLost:
            _log.warning("Another process took over following whom leads are with.")
        finally:
            with suppress(PyMongoError):
                await asyncio.shield(leases.release(lease))


@dataclass(slots=True)
class Follower:
    """One holder of the lease, from taking it to losing it, or until there are no agents."""

    lease: Lease
    session: AsyncIOMotorClientSession = field(init=False)
    token: dict[str, Any] | None = None
    deployment: str = ""
    saved_at: float = 0.0

    async def work(self) -> None:
        """Go on from the saved position, or from when the first agent came. Raises LeaseLost."""
        states = FollowState.get_motor_collection()
        state = await FollowState.get(STATE)
        if state is not None and state.session is not None:
            await end_session(states, state.session)  # what one that was killed has left open
        async with await states.database.client.start_session() as self.session:
            ours = {"$set": {"session": name_of(self.session)}, "$setOnInsert": {"saved_at": datetime.now(UTC)}}
            await states.update_one({"_id": STATE}, ours, upsert=True)
            try:
                await self._go_on(state)
            finally:  # the driver gives it to whoever asks next
                with suppress(PyMongoError):
                    mine = {"_id": STATE, "session": name_of(self.session)}
                    await states.update_one(mine, {"$set": {"session": None}})

    async def _go_on(self, state: FollowState | None) -> None:
        self.deployment = await deployment_of_profiles()
        oldest = await _oldest_agent()
        start_at = Timestamp(int(oldest.timestamp()), 0) if oldest else None
        if state is not None and state.deployment == self.deployment:
            self.token = state.token
        try:
            await self._follow(start_at)
        except StreamEnded as ended:
            _log.warning("%s: every lead is compared with its entry.", ended)
            await self._compare_all()

    async def _follow(self, start_at: Timestamp | None) -> None:
        async with Changes(self.token, start_at) as stream:
            while True:
                events = await stream.events(AT_ONCE, wait=SAVE_EVERY / 2)
                self.token = dict(stream.token) if stream.token else None
                if events:
                    await self._bring_into_line(list({event.profile for event in events}))
                elif time.monotonic() - self.saved_at > SAVE_EVERY:
                    await self._bring_into_line([])
                    if not await _oldest_agent():
                        return

    async def _compare_all(self) -> None:
        """After lost history: whatever may differ. From then on the stream is followed from before this began."""
        self.token = None
        async with Changes(None, None) as stream:
            begins = dict(stream.token) if stream.token else None
            entries = Pipeline.get_motor_collection().find({"state": "open"}, {"profile": 1})
            async for ids in _in_batches(entries, "profile"):
                await self._bring_into_line(ids)
            leads = Profile.get_motor_collection().find({"lead.agent_id": {"$exists": True}}, {"_id": 1})
            async for ids in _in_batches(leads, "_id"):
                await self._bring_into_line(ids)
            self.token = begins
            await self._bring_into_line([])

    async def _bring_into_line(self, profiles: Sequence[ObjectId]) -> None:
        """One transaction: entries, tasks and the position, on the condition that the lease holds."""

        async def write(session: AsyncIOMotorClientSession) -> None:
            await bring_into_line(session, profiles, await server_time())
            kept = {
                "token": self.token,
                "deployment": self.deployment,
                "session": name_of(self.session),
                "saved_at": datetime.now(UTC),
            }
            await FollowState.get_motor_collection().update_one(
                {"_id": STATE}, {"$set": kept}, upsert=True, session=session
            )
            if await leases.renew(self.lease, session=session) is None:
                raise LeaseLost

        await patiently(self.session, write, alone=True)
        self.saved_at = time.monotonic()


async def bring_into_line(session: AsyncIOMotorClientSession, profiles: Sequence[ObjectId], now: datetime) -> int:
    """Make the open entries of these leads say whom they are with; how many differed."""
    if not profiles:
        return 0
    shown = {"project_id": 1, "lead.agent_id": 1}
    found = Profile.get_motor_collection().find({"_id": {"$in": list(profiles)}}, shown, session=session)
    leads = {profile["_id"]: profile for profile in await found.to_list(None)}
    entries = Pipeline.get_motor_collection().find(
        {"profile": {"$in": list(profiles)}, "state": "open"}, {"profile": 1, "agent_id": 1}, session=session
    )
    with_whom = {entry["profile"]: entry["agent_id"] async for entry in entries}
    differ = [profile for profile in leads.values() if _agent_of(profile) != with_whom.get(profile["_id"])]
    has_lead = [profile["_id"] for profile in differ if "lead" in profile]
    has_none = [profile["_id"] for profile in differ if "lead" not in profile]
    for ids, reason in ((has_lead, Reason.BY_HAND), (has_none, Reason.NO_LEAD)):
        closing = [profile for profile in ids if profile in with_whom]
        if closing:
            await cascade.close(session, closing, reason, None, now)
    await _open(session, [profile for profile in differ if _agent_of(profile) is not None], now)
    return len(differ)


async def _open(session: AsyncIOMotorClientSession, leads: Sequence[Mapping[str, Any]], now: datetime) -> None:
    known: dict[tuple[str, str], bool] = {}
    for project_id in {lead["project_id"] for lead in leads}:
        wanted = {_agent_of(lead) or "" for lead in leads if lead["project_id"] == project_id}
        known |= {(project_id, agent_id): True for agent_id in await agents_of(project_id, sorted(wanted), session)}
    opening = [lead for lead in leads if (lead["project_id"], _agent_of(lead)) in known]
    if not opening:
        return
    # An erasure of one of them at this moment conflicts with this, so that no entry outlives its lead.
    await cascade.touch(session, [lead["_id"] for lead in opening])
    await Pipeline.get_motor_collection().insert_many(
        [
            cascade.opened(lead["project_id"], "", lead["_id"], _agent_of(lead) or "", now)
            | {"_id": f"hand|{ObjectId()}", "job_id": None}
            for lead in opening
        ],
        session=session,
    )


def _agent_of(profile: Mapping[str, Any]) -> str | None:
    agent: str | None = profile.get("lead", {}).get("agent_id")
    return agent


async def _in_batches(cursor: Any, name: str) -> AsyncIterator[list[ObjectId]]:
    while batch := await cursor.to_list(AT_ONCE):
        yield [found[name] for found in batch]


async def _oldest_agent() -> datetime | None:
    """When the first of the agents came."""
    found = await Agent.get_motor_collection().find_one({}, {"created_at": 1}, sort=[("_id", 1)])
    return None if found is None else found["created_at"]

"""Freezing a run: its members with their attributes, the rule, the seed, and a hash of it all, as of one moment.

Every attempt writes personas under a name of its own, and one transaction says which of them count. What a dead or
stalled attempt leaves is never read. Whoever is erased meanwhile is taken out by that same transaction.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession, AsyncIOMotorCollection

from muster.cohorts.snapshot import open_snapshot
from muster.errors import Conflict, Invalid
from muster.experiments.configuration import Configuration, PersonaWriter, fields_of, projection, read
from muster.experiments.documents import (
    HELD_OUT,
    Experiment,
    ExperimentRun,
    Part,
    Persona,
    Phase,
    ids_between,
    persona_id,
    snapshot_name,
)
from muster.experiments.personas import Company, NotYet, Taken, company_of
from muster.jobs.service import Waits
from muster.jobs.working import Claimed
from muster.records.documents import Profile
from muster.records.registry import registry
from muster.transactions import in_transaction

AGAIN_AFTER = timedelta(seconds=5)  # a cohort that is being evaluated
PER_WRITE = 1_000

ERASURE: dict[str, Any] = {
    "$set": {"is_erased": True},
    "$unset": dict.fromkeys(("profile", "pii_id", "name", "sent", "result", "state", "result_at"), ""),
}
"""What an erasure leaves of a persona: its place, and its arm."""


@dataclass(slots=True)
class Frozen:
    """What was written so far."""

    snapshot: str
    part_bytes: int
    digest: Any = field(default_factory=hashlib.sha256)
    count: int = 0
    held_out: int = 0
    arms: dict[str, int] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)

    def add(self, size: int, arm: str | None) -> int:
        """One more, of so many bytes; its number."""
        if not self.parts or self.parts[-1].size + size > self.part_bytes:
            self.parts.append(Part(number=len(self.parts), first=self.count, count=0, size=0))
        self.parts[-1].count += 1
        self.parts[-1].size += size
        self.count += 1
        if arm is not None:
            self.arms[arm] = self.arms.get(arm, 0) + 1
        return self.count - 1


async def freeze(run: ExperimentRun, experiment: Experiment, claimed: Claimed) -> ExperimentRun:
    """The run with its personas, ready to be sent. Raises Conflict when there is nobody, Waits while a cohort fills."""
    config = read(experiment.config)
    frozen = Frozen(snapshot_name(run.id, claimed.fence), config.dispatch.part_bytes)
    await _personas().delete_many({"run": run.id})  # of attempts before this one
    async with open_snapshot() as snapshot:
        try:
            company = await company_of(experiment, config.personas, snapshot)
        except NotYet as reason:
            raise Waits(reason.detail, AGAIN_AFTER) from None
        frozen.digest.update(_header(experiment, company))
        if experiment.cohorts or experiment.member_count is not None:
            await _write(company, config, run, frozen, claimed)
        else:
            await _write_made_up(config, run, frozen, claimed)
        at = snapshot.now
    if not frozen.count:
        raise Conflict(_nobody(experiment, frozen))
    gone = await _gone_since(frozen.snapshot)
    values = {
        "phase": Phase.SENDING.value,
        "config": experiment.config,
        "seed": company.seed,
        "rules": [rule.model_dump() for rule in company.rules],
        "weights": {arm.name: arm.weight for arm in config.personas.arms} if not experiment.arms else {},
        "snapshot": frozen.snapshot,
        "snapshot_hash": f"sha256:{frozen.digest.hexdigest()}",
        "frozen_at": at,
        "persona_count": frozen.count,
        "held_out_count": frozen.held_out,
        "arm_counts": frozen.arms,
        "parts": [part.model_dump() for part in frozen.parts],
    }
    await in_transaction(_personas(), partial(_settle, run, claimed, values, gone))
    await claimed.progress(0, frozen.count)
    found = await ExperimentRun.get(run.id)
    if found is None:
        raise Conflict(f"{experiment.id} was deleted.")
    return found


async def _settle(
    run: ExperimentRun,
    claimed: Claimed,
    values: dict[str, Any],
    gone: Sequence[ObjectId],
    session: AsyncIOMotorClientSession,
) -> None:
    """Say that these personas count, without those who were erased since: an erasure writes the run that still freezes,
    so it either stands in the run already, or finds the personas.
    """
    await claimed.renew(session=session)
    runs = ExperimentRun.get_motor_collection()
    found = await runs.find_one({"_id": run.id}, {"erased": 1}, session=session)
    erased = [*gone, *((found or {}).get("erased") or [])]
    if erased:
        await _personas().update_many({"run": run.id, "profile": {"$in": erased}}, ERASURE, session=session)
    await runs.update_one({"_id": run.id}, {"$set": {**values, "erased": []}}, session=session)


async def _write(company: Company, config: Configuration, run: ExperimentRun, frozen: Frozen, claimed: Claimed) -> None:
    fields = fields_of(config.personas, await registry(run.project_id))
    writer = PersonaWriter(fields)
    async with aclosing(company.taken(projection(fields))) as batches:
        async for batch in batches:
            documents = [_document(taken, writer, run, frozen) for taken in batch]
            if documents:
                await claimed.progress(0)  # nobody writes on who lost the lease, or whose run is not wanted any more
                await _personas().insert_many(documents, ordered=False)


def _document(taken: Taken, writer: PersonaWriter, run: ExperimentRun, frozen: Frozen) -> dict[str, Any]:
    pii_id: str = taken.profile["pii_id"]
    name, sent = writer.persona(taken.profile, taken.arm)
    frozen.digest.update(json.dumps([pii_id, taken.is_held_out]).encode() + sent + b"\n")
    if taken.is_held_out:
        number = HELD_OUT + frozen.held_out
        frozen.held_out += 1
    else:
        number = frozen.add(len(sent), taken.arm)
    document = {
        "_id": persona_id(frozen.snapshot, number),
        "snapshot": frozen.snapshot,
        "run": run.id,
        "experiment": run.experiment,
        "number": number,
        "profile": taken.profile["_id"],
        "pii_id": pii_id,
        "name": name,
        "sent": sent.decode(),
    }
    return document | ({"arm": taken.arm} if taken.arm else {}) | ({"is_held_out": True} if taken.is_held_out else {})


async def _write_made_up(config: Configuration, run: ExperimentRun, frozen: Frozen, claimed: Claimed) -> None:
    """Places for personas that the other side makes up; always one request."""
    count = config.personas.count
    if count is None:
        raise Invalid(f"{run.experiment} has no cohort; say in config.personas.count how many personas to make up.")
    for start in range(0, count, PER_WRITE):
        numbers = range(start, min(start + PER_WRITE, count))
        same = {"snapshot": frozen.snapshot, "run": run.id, "experiment": run.experiment}
        await claimed.progress(0)
        await _personas().insert_many(
            [{"_id": persona_id(frozen.snapshot, number), **same, "number": number} for number in numbers],
            ordered=False,
        )
    frozen.count, frozen.parts = count, [Part(number=0, first=0, count=count, size=0)]


def _header(experiment: Experiment, company: Company) -> bytes:
    """All that a run depends on beside its personas."""
    header = {
        "config": json.loads(experiment.config),
        "cohorts": [rule.model_dump(exclude={"name", "member_count"}) for rule in company.rules],
        "seed": company.seed,
    }
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode() + b"\n"


async def _gone_since(snapshot: str) -> list[ObjectId]:
    """The profiles of personas that are no longer there."""
    gone: list[ObjectId] = []
    named = _personas().find(
        {"_id": ids_between(snapshot, 0, 2 * HELD_OUT), "profile": {"$exists": True}}, {"_id": 0, "profile": 1}
    )
    while batch := await named.to_list(PER_WRITE):
        ids = [persona["profile"] for persona in batch]
        there = {found["_id"] async for found in Profile.get_motor_collection().find({"_id": {"$in": ids}}, {"_id": 1})}
        gone += [each for each in ids if each not in there]
    return gone


def _nobody(experiment: Experiment, frozen: Frozen) -> str:
    if frozen.held_out:
        return f"{experiment.id} has nobody to run over: all {frozen.held_out:,} are held out."
    if experiment.cohorts:
        return f"{experiment.id} has nobody to run over: {', '.join(experiment.cohorts)} has no members."
    return f"{experiment.id} has nobody to run over: no profile is left."


def _personas() -> AsyncIOMotorCollection[dict[str, Any]]:
    return Persona.get_motor_collection()

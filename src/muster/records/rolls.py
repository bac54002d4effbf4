"""Rolls: `pii_id`s that a request or an import named, kept in pieces until a job has worked through them.

Not in the job's document: a hundred thousand ids would be read and sent along whenever somebody looks at it. They are
names of people, so they go when the work is done, or after a week, and an erasure takes its profile out.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession, AsyncIOMotorCollection

from muster.errors import Conflict
from muster.records.documents import RollPiece

PER_PIECE = 1_000
PIECES_PER_WRITE = 50
KEPT_FOR = timedelta(days=7)


@dataclass(slots=True)
class Roll:
    """A roll that stands, as a job's arguments hold it. `count` may hold somebody twice, in two pieces."""

    id: str
    pieces: int
    count: int

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """As it came out of a job's arguments."""
        return cls(**stored)


@dataclass(slots=True)
class RollWriter:
    """Writes a roll of any length, piece by piece."""

    project_id: str
    id: str = field(default_factory=lambda: str(ObjectId()))
    _pieces: int = 0
    _count: int = 0
    _waiting: list[str] = field(default_factory=list)

    async def add(self, pii_ids: Sequence[str]) -> None:
        """Write what fills pieces, and hold back the rest."""
        self._waiting += pii_ids
        if len(self._waiting) >= PER_PIECE * PIECES_PER_WRITE:
            await self._write(len(self._waiting) // PER_PIECE * PER_PIECE)

    async def close(self) -> Roll:
        """Write the rest."""
        await self._write(len(self._waiting))
        return Roll(self.id, self._pieces, self._count)

    async def _write(self, length: int) -> None:
        if not length:
            return
        ids, self._waiting = self._waiting[:length], self._waiting[length:]
        expires_at = datetime.now(UTC) + KEPT_FOR
        await _pieces().insert_many(
            [
                {
                    "_id": _piece_id(self.id, self._pieces + number),
                    "roll": self.id,
                    "project_id": self.project_id,
                    "pii_ids": ids[start : start + PER_PIECE],
                    "expires_at": expires_at,
                }
                for number, start in enumerate(range(0, length, PER_PIECE))
            ]
        )
        self._pieces += -(-length // PER_PIECE)
        self._count += length


async def keep(project_id: str, pii_ids: Sequence[str]) -> Roll:
    """Keep a list, everybody once."""
    writer = RollWriter(project_id)
    await writer.add(list(dict.fromkeys(pii_ids)))
    return await writer.close()


async def piece(roll: Roll, number: int, session: AsyncIOMotorClientSession) -> list[str]:
    """One piece as the session sees it, without those erased. Raises Conflict when the roll is no longer kept."""
    return [pii_id for pii_id in await _places(roll, number, {"pii_ids": 1}, session) if pii_id is not None]


async def places(
    roll: Roll, start: int, stop: int, session: AsyncIOMotorClientSession | None = None
) -> list[str | None]:
    """Some places of one piece, counted from the beginning of the roll; None where somebody was erased. As `piece`."""
    number, first = divmod(start, PER_PIECE)
    return await _places(roll, number, {"pii_ids": {"$slice": [first, stop - start]}}, session)


async def _places(
    roll: Roll, number: int, shown: Mapping[str, Any], session: AsyncIOMotorClientSession | None
) -> list[str | None]:
    found = await _pieces().find_one({"_id": _piece_id(roll.id, number)}, shown, session=session)
    if found is None:
        raise Conflict(f"The list is kept for {KEPT_FOR.days} days only; send it again.")
    ids: list[str | None] = found["pii_ids"]
    return ids


async def pieces(roll: Roll, session: AsyncIOMotorClientSession) -> AsyncIterator[list[str]]:
    """All of it, piece by piece. Raises as `piece`."""
    for number in range(roll.pieces):
        yield await piece(roll, number, session)


async def drop(*roll_ids: str) -> None:
    """Keep rolls no longer."""
    await _pieces().delete_many({"roll": {"$in": list(roll_ids)}})


async def forget(
    session: AsyncIOMotorClientSession, project_id: str, _profile: ObjectId, pii_id: str
) -> Mapping[str, int]:
    """Take a profile out of all rolls of its project, within an erasure's transaction. The others keep their places."""
    named = await _pieces().update_many(
        {"project_id": project_id, "pii_ids": pii_id},
        {"$set": {"pii_ids.$[one]": None}},
        array_filters=[{"one": pii_id}],
        session=session,
    )
    return {"rolls": named.modified_count}


def _piece_id(roll_id: str, number: int) -> str:
    return f"{roll_id}|{number}"


def _pieces() -> AsyncIOMotorCollection[dict[str, Any]]:
    return RollPiece.get_motor_collection()

"""The watcher: follows the change stream of `profiles` and keeps the members of every cohort right.

One process at a time holds the lease of a slice (`slices`). What a batch changes is one transaction: rows, entries in
`changes`, counts and the resume token, on the condition that the lease still holds. So whatever is killed, and
whenever, the next watcher goes on after exactly what was applied.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

import structlog
from bson import Binary, ObjectId
from bson.binary import UUID_SUBTYPE
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.errors import OperationFailure, PyMongoError

from muster.cohorts import changes
from muster.cohorts.decisions import Decisions, Moment, Pending, Rows, decide
from muster.cohorts.documents import Cause, Cohort, Membership, WatchState
from muster.cohorts.live_rules import TOUCHED, LiveRule, LiveRules, changes_a_rule_could_see, read_live_rules
from muster.cohorts.reconciliation import differing
from muster.cohorts.slices import ALL, LEASE_TTL, Slice, share
from muster.cohorts.snapshot import Snapshot, is_gone, open_snapshot, raise_registry_version
from muster.cohorts.stream import Event, Stream, StreamEnded, deployment_of_profiles
from muster.cohorts.ticks import Candidates, Clock, Tick
from muster.cohorts.writes import RulesMoved, write
from muster.jobs import leases
from muster.jobs.documents import Lease
from muster.records.documents import Profile
from muster.transactions import commit

TICK_SECONDS = 10.0
LOOK_AT_TICK_EVERY = 0.05  # seconds, while one is under way
EVENTS_PER_BATCH = 1_000  # at the most, on a machine that keeps up
FEWEST_PER_BATCH = 50
SLOW, QUICK = LEASE_TTL.total_seconds() / 5, 0.5  # seconds that this may, and should, take
ROWS_AT_ONCE = 50_000
WRITES_PER_TRANSACTION = 2_000
PROFILES_PER_RECONCILED_BATCH = 10_000  # one comparison of the whole per batch, so not too few
SAVE_TOKEN_EVERY = 1.0  # seconds, where nothing else is written
WAIT_AFTER_ERROR = 1.0  # seconds

log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """Another watcher has the slice by now."""


async def watch(holder: str | None = None, slices: int = 1) -> None:
    """Follow the stream for ever, or stand by while other watchers do. Cancel to stop; leases are given back."""
    await share(_follow, slices, holder)


async def _follow(lease: Lease, part: Slice) -> None:
    """Follow one slice until it is lost, or MongoDB does not answer."""
    try:
        await Watcher(lease, part).follow()
    except LeaseLost:
        await log.awarning("Another watcher took over", slice=part.name)
    except PyMongoError as error:
        await log.awarning("MongoDB does not answer the watcher; trying again", slice=part.name, error=str(error))
        await asyncio.sleep(WAIT_AFTER_ERROR)


@dataclass
class Watcher:
    """One holder of a slice's lease, from taking it to losing it."""

    lease: Lease
    part: Slice = ALL
    live: LiveRules = field(default_factory=LiveRules)
    state: WatchState | None = None
    _session: AsyncIOMotorClientSession = field(init=False)
    _token: Mapping[str, Any] | None = None
    _saved_at: float = 0.0
    _clock: Clock = field(default_factory=Clock)
    _tick: "Tick | None" = None
    _ticked_at: float = 0.0  # when the last tick began
    _at_once: int = EVENTS_PER_BATCH
    _events: int = 0
    _lag_ms: float = 0.0

    async def follow(self) -> None:
        """Go on from the saved token; where history is lost, evaluate everything once and follow from there."""
        async with await Membership.get_motor_collection().database.client.start_session() as session:
            try:
                await self._follow(session)
            finally:
                await self._forget_session()

    async def _follow(self, session: AsyncIOMotorClientSession) -> None:
        reason = await self._resume(session)
        while True:
            try:
                async with Stream(self._token, self.part.stages) as stream:
                    if reason:
                        await self._evaluate_everything(stream, reason)
                    await self._apply_for_ever(stream)
            except StreamEnded as ended:
                reason, self._token = str(ended), None
            finally:
                await self._drop_tick()

    async def _resume(self, session: AsyncIOMotorClientSession) -> str | None:
        """Read where the slice stands; the answer says why history is lost, if it is.

        All our transactions are of one session, whose id is kept: a watcher that is killed amid a batch leaves one
        open, and the next watcher would wait for its rows until it expires.
        """
        self._session = session
        deployment = await deployment_of_profiles()
        saved = await WatchState.get(self.part.name)
        if saved is not None and saved.session is not None:
            await _end_session(saved.session)
        self.state = saved or WatchState(
            id=self.part.name, token=None, deployment=deployment, saved_at=datetime.now(UTC), events=0, lag_ms=0
        )
        self._events = self.state.events
        self._clock = Clock(self.state.ticked_at)
        identity: Any = session.session_id  # Motor's annotations call this property a method
        self.state.session = identity["id"].hex()
        if saved is not None:
            await self._save_state(saved.token)
        if saved is None or saved.token is None:
            return "no position in the change stream is known"
        if saved.deployment != deployment:
            self.state.deployment = deployment
            return "the collection of profiles is another one than before"
        self._token = saved.token
        return None

    async def _forget_session(self) -> None:
        """The driver gives a session that ended to whoever asks next: the next watcher must not end it under them."""
        if self.state is not None:
            ours = {"_id": self.part.name, "session": self.state.session}
            with suppress(PyMongoError):
                await WatchState.get_motor_collection().update_one(ours, {"$set": {"session": None}})

    async def _apply_for_ever(self, stream: Stream) -> None:
        while True:
            events = await stream.events(self._at_once, wait=self._until_something_is_due())
            if events:
                await self._apply(events)
            self._token = stream.token
            await self._let_time_pass()
            if time.monotonic() - self._saved_at >= SAVE_TOKEN_EVERY:
                await self._save_token()

    def _until_something_is_due(self) -> float:
        if self._tick is not None:
            return LOOK_AT_TICK_EVERY
        due = min(self._ticked_at + TICK_SECONDS, self._saved_at + max(SAVE_TOKEN_EVERY, LEASE_TTL.total_seconds() / 3))
        return max(0.0, due - time.monotonic())

    async def _apply(self, events: Sequence[Event]) -> None:
        """Bring every membership up to date with these events, and with whatever came after them."""
        changed: dict[ObjectId, frozenset[str] | None] = {}
        for event in events:
            known = changed.get(event.profile, frozenset())
            changed[event.profile] = None if known is None or event.changed is None else known | event.changed
        self._events += len(events)
        await self._decide(lambda snapshot: self._pending(changed, snapshot), events[-1].token)
        self._lag_ms = max(0.0, (datetime.now(UTC) - events[-1].written_at).total_seconds() * 1000)

    async def _decide(
        self,
        pending_at: Callable[[Snapshot], Awaitable[dict[ObjectId, Pending]]],
        token: Mapping[str, Any] | None,
    ) -> None:
        """Decide on what is pending at a snapshot and write it with the token; anew when rules moved meanwhile.

        Then by halves: what takes less time meets fewer moves, so that many edits do not hold up everything for ever.
        """
        done, limit = set[ObjectId](), None
        while True:
            await self._renew()
            started, settled, size, is_last = time.monotonic(), False, 0, False
            try:
                async with open_snapshot() as snapshot:
                    self.live = await read_live_rules(snapshot, self.live)
                    left = {
                        profile: work for profile, work in (await pending_at(snapshot)).items() if profile not in done
                    }
                    part = dict(islice(left.items(), limit))
                    size, is_last = len(part), len(part) == len(left)
                    moment = Moment(self.live, snapshot.as_of, snapshot.now)
                    await _forget_erased(part)
                    rows = await _rows(part, self.live, snapshot.session)
                    settled = await self._settle(part, rows, moment, token if is_last else self._token)
            except OperationFailure as error:
                if not is_gone(error):
                    raise
            self._pace(size, time.monotonic() - started, settled=settled)
            if not settled:
                limit = max(1, size // 2)
            elif is_last:
                return
            else:
                done |= part.keys()

    def _pace(self, profiles: int, seconds: float, *, settled: bool) -> None:
        """Take on less at once where that was too much, on a busy machine say, and more again where it was not.

        A batch that lasted longer than the lease would be another watcher's to do again, and so on for ever.
        """
        if not settled or seconds > SLOW:
            self._at_once = max(FEWEST_PER_BATCH, min(self._at_once, profiles) // 2)
        elif seconds < QUICK:
            self._at_once = min(2 * self._at_once, EVENTS_PER_BATCH)

    async def _pending(
        self, changed: Mapping[ObjectId, frozenset[str] | None], snapshot: Snapshot
    ) -> dict[ObjectId, Pending]:
        """What these profiles are at the snapshot, where their changes touch a rule."""
        seen = {profile: paths and changes_a_rule_could_see(paths) for profile, paths in changed.items()}
        worth_reading = [profile for profile, paths in seen.items() if paths is None or paths]
        found = {profile["_id"]: profile async for profile in _profiles(worth_reading, snapshot)}
        pending: dict[ObjectId, Pending] = {}
        for profile_id in worth_reading:
            profile, paths = found.get(profile_id), seen[profile_id]
            if profile is None:
                pending[profile_id] = Pending(None, Cause.RECORD)
            elif self.live.may_touch(profile["project_id"], paths):
                by_hand = paths == frozenset({TOUCHED})  # only its membership in a static cohort changed
                pending[profile_id] = Pending(profile, Cause.MANUAL if by_hand else Cause.RECORD, paths)
        return pending

    async def _settle(
        self,
        pending: Mapping[ObjectId, Pending],
        rows: Rows,
        moment: Moment,
        token: Mapping[str, Any] | None,
    ) -> bool:
        """Write what differs, in one transaction with the token. False when rules moved: then decide anew.

        Much is written in several transactions, the token in the last: a large one would hold more than a small
        server's cache can, be rolled back, and be tried for ever.
        """
        decisions = decide(pending, rows, moment)
        if len(decisions) > WRITES_PER_TRANSACTION and len(pending) > 1:
            first, second = _halves(pending)
            return await self._settle(first, rows, moment, self._token) and await self._settle(
                second, rows, moment, token
            )
        if decisions:
            try:
                await commit(
                    self._session, lambda inside: self._write(inside, pending, decisions, moment=moment, token=token)
                )
            except RulesMoved:
                self.live = LiveRules(by_generation=self.live.by_generation)  # read anew which there are
                return False
            self._saved_at = time.monotonic()
        self._token = token
        return True

    async def _write(
        self,
        session: AsyncIOMotorClientSession,
        pending: Mapping[ObjectId, Pending],
        decisions: Decisions,
        *,
        moment: Moment,
        token: Mapping[str, Any] | None,
    ) -> None:
        if decisions.touches_filling:  # the run writes beside us: only rows read in here are sure
            decisions = decide(pending, await _rows(pending, moment.live, session), moment)
        await write(decisions, session)
        await self._write_state(token, session)
        await self._renew(session)  # last, so that a stall holds it shortest

    async def _let_time_pass(self) -> None:
        """Every tick, find in the background whom time may have moved; decide on them between batches of changes."""
        if self._tick is None:
            if time.monotonic() - self._ticked_at < TICK_SECONDS:
                return
            self._ticked_at = time.monotonic()
            await self._renew()
            async with open_snapshot() as snapshot:
                self.live = await read_live_rules(snapshot, self.live)
            self._tick = Tick(self._clock, self.live, snapshot.now)
        for found in self._tick.found():
            await self._decide(partial(self._anew, found), self._token)
        try:
            if self._tick.is_done():
                self._clock.passed(self._tick.live.time_dependent, self._tick.now)
                self._tick = None
                await self._save_token()
        except PyMongoError as error:  # such as a snapshot that grew too old: the next tick looks further back
            await log.awarning("A tick could not look at everybody", slice=self.part.name, error=str(error))
            self._tick = None

    async def _drop_tick(self) -> None:
        if self._tick is not None:
            await self._tick.stop()
            self._tick = None

    async def _anew(self, found: Candidates, snapshot: Snapshot) -> dict[ObjectId, Pending]:
        """Candidates of a tick as they are, with those of the generations that are still live."""
        rules = [rule for each in found.generations if (rule := self.live.by_generation.get(each))]
        ours = [profile for profile in found.profiles if self.part.holds(profile)]
        profiles = {profile["_id"]: profile async for profile in _profiles(ours, snapshot)}
        return {profile: Pending(profiles.get(profile), Cause.TIME, rules=rules) for profile in ours}

    async def _evaluate_everything(self, stream: Stream, reason: str) -> None:
        """What happened is unknown, so compare every cohort with its rule; the stream is open and misses nothing more.

        Runs under way began before the gap: their generations are dropped, and they begin again. No position is kept
        before all is done, so whoever is killed in the middle leaves the next watcher to do it all again.
        """
        await log.awarning("Evaluating every cohort anew", reason=reason)
        beginning, self._token = stream.token, None
        await Cohort.get_motor_collection().update_many({"filling": {"$ne": None}}, {"$set": {"filling": None}})
        await raise_registry_version()
        async with open_snapshot() as snapshot:
            self.live = await read_live_rules(snapshot, LiveRules())
        for live in self.live.in_place:
            await self._reconcile(live, Cause.RECORD)
        self._token = beginning
        self._clock.passed(self.live.time_dependent, snapshot.now)
        if self.state is not None:
            self.state.deployment = await deployment_of_profiles()
            self.state.full_evaluations += 1
            self.state.full_evaluation_reason = reason
            self.state.full_evaluation_at = datetime.now(UTC)
        await self._save_token()
        await log.ainfo("Every cohort is evaluated", cohorts=len(self.live.in_place))

    async def _reconcile(self, live: LiveRule, cause: Cause) -> None:
        """Make a generation in place what its rule says, in slices that are one transaction each."""
        left = True

        async def differences(snapshot: Snapshot) -> dict[ObjectId, Pending]:
            nonlocal left
            current = self.live.by_generation.get(live.generation)
            if current is None:
                left = False
                return {}
            all_of_them = await differing(current, snapshot, snapshot.now)
            ours = [profile for profile in all_of_them if self.part.holds(profile)]
            part = ours[:PROFILES_PER_RECONCILED_BATCH]
            left = len(part) < len(ours)
            found = {profile["_id"]: profile async for profile in _profiles(part, snapshot)}
            return {
                profile: Pending(found.get(profile), cause, rules=(current,) if profile in found else ())
                for profile in part
            }

        while left:
            await self._decide(differences, self._token)

    async def _renew(self, session: AsyncIOMotorClientSession | None = None) -> None:
        """Before every snapshot, so that its `as_of` moves on while the database is idle, as time does."""
        if await leases.renew(self.lease, session=session) is None:
            raise LeaseLost

    async def _save_token(self) -> None:
        """Keep the position of a quiet stream too, or it would fall out of the history."""
        self._saved_at = time.monotonic()
        await self._save_state(self._token)

    async def _save_state(self, token: Mapping[str, Any] | None) -> None:
        """Only under the lease: one that slept must not put an older position over that of its successor."""

        async def save(session: AsyncIOMotorClientSession) -> None:
            await self._write_state(token, session)
            await self._renew(session)

        await commit(self._session, save)

    async def _write_state(self, token: Mapping[str, Any] | None, session: AsyncIOMotorClientSession) -> None:
        if self.state is None:
            return
        self.state.token = dict(token) if token else None
        self.state.events = self._events
        self.state.lag_ms = self._lag_ms
        self.state.ticked_at = self._clock.ticked_at
        self.state.saved_at = datetime.now(UTC)
        document = self.state.model_dump(by_alias=True, exclude={"id", "revision_id"})
        await WatchState.get_motor_collection().update_one(
            {"_id": self.part.name}, {"$set": document}, upsert=True, session=session
        )


async def _forget_erased(pending: Mapping[ObjectId, Pending]) -> None:
    """Take the names of profiles that are gone out of `changes`, should any have come in beside their erasure."""
    if erased := [profile for profile, work in pending.items() if work.profile is None]:
        await changes.forget(erased)


async def _end_session(session: str) -> None:
    """Abort what a watcher before us left open, or a stalled one still holds open."""
    admin = Membership.get_motor_collection().database.client.admin
    await admin.command("killSessions", [{"id": Binary(bytes.fromhex(session), UUID_SUBTYPE)}])


async def _rows(profiles: Mapping[ObjectId, Pending], live: LiveRules, session: AsyncIOMotorClientSession) -> Rows:
    """The rows of these profiles, by profile and generation.

    What the index holds is enough, unless a run fills a generation: then since when and why go over to it.
    """
    projection = None if live.filling else {"_id": 0, "profile": 1, "generation": 1, "in": 1, "as_of": 1}
    found = Membership.get_motor_collection().find(
        {"profile": {"$in": list(profiles)}}, projection, session=session, batch_size=ROWS_AT_ONCE
    )
    rows: dict[ObjectId, dict[str, Mapping[str, Any]]] = {}
    for row in await found.to_list(None):
        rows.setdefault(row["profile"], {})[row["generation"]] = row
    return rows


def _halves(pending: Mapping[ObjectId, Pending]) -> tuple[dict[ObjectId, Pending], dict[ObjectId, Pending]]:
    items = list(pending.items())
    middle = len(items) // 2
    return dict(items[:middle]), dict(items[middle:])


def _profiles(ids: Sequence[ObjectId], snapshot: Snapshot) -> Any:
    return Profile.get_motor_collection().find({"_id": {"$in": list(ids)}}, session=snapshot.session)

"""Runs over HTTP: Modal, or any endpoint that speaks the same.

`POST {address}` with the configuration answers `{"call_id": …}`, or 303 to where the answer will be, or the results at
once. `GET {address}/result/{call_id}` answers 202 while the work goes on, then 200 `{"status", "results"}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from muster.experiments.dispatch import Accepted, Finished, Outcome, Parcel, Pending, Unknown
from muster.experiments.documents import ExperimentRun, Part
from muster.experiments.wire import Refusal, Reply, Trouble, Wire

LONGEST_CALL_ID = 500  # characters
FAILED = frozenset({"failed", "failure", "error", "cancelled", "canceled", "timeout", "terminated"})
GOES_ON = frozenset({"pending", "queued", "running", "in_progress", "processing"})
TRY_AGAIN = frozenset({408, 409, 423, 425, 429})


@dataclass(frozen=True, slots=True)
class Remote:
    """The other side of a wire. `who` names it in sentences, `keys` the settings that it may not like."""

    wire: Wire
    who: str
    keys: str

    async def start(self, parcel: Parcel) -> Outcome:
        """POST a part, and never follow where the answer leads: that is for `look`, once it is on record."""
        reply = await self.wire.post(self.wire.address, parcel.content)
        if reply.status in {200, 201, 202}:
            return self._read(reply, wanted="call_id")
        if reply.status == 303:
            return Accepted(result_url=self.wire.following(self.wire.address, reply))
        if 300 <= reply.status < 400:
            raise Refusal(
                f"{self.who} answers {reply.status} to a POST: only 303 is followed. Name the address it moved to."
            )
        if reply.status == 404:
            raise Refusal(f"{self.who} has nothing at its address (404); is it deployed, and is the address right?")
        raise self._no(reply)

    async def look(self, run: ExperimentRun, part: Part) -> Outcome:
        """GET what became of a part."""
        reply = await self.wire.get(part.result_url or self._result_of(part.call_id or run.id))
        if reply.status == 202 or 300 <= reply.status < 400:
            return Pending(_done(_members(reply)), reply.retry_after)
        if reply.status in {200, 201}:
            return self._read(reply, wanted="results")
        if reply.status in {404, 410}:
            known_call = f"{self.who} does not know the call {part.call_id} ({reply.status})."
            raise Unknown(known_call if part.call_id else f"{self.who} does not know this run ({reply.status}).")
        raise self._no(reply)

    def _result_of(self, call_id: str) -> str:
        address = httpx.URL(self.wire.address)
        return str(address.copy_with(raw_path=_below(address, f"/result/{quote(call_id, safe='')}")))

    def _read(self, reply: Reply, *, wanted: str) -> Outcome:
        """An answer that says yes. Whatever is cut off, or no JSON, may be whole another time."""
        members = _members(reply)
        if members is None:
            raise Trouble(f"{self.who} answered {reply.status} with what is no JSON object; it may have been cut off.")
        status = str(_value(members, "status") or "").lower()
        if status in FAILED:
            reason = _value(members, "error") or _value(members, "detail") or _value(members, "message")
            told = f"{self.who} says that the run failed: {str(reason)[:500]}"
            raise Refusal(told if reason else f"{self.who} says that the run failed, and gives no reason.")
        if "results" in members and status not in GOES_ON:
            try:
                return Finished(msgspec.json.decode(members["results"], type=list[msgspec.Raw]))
            except msgspec.MsgspecError:
                raise Refusal(f"{self.who} gives `results` that are no list.") from None
        call_id = _value(members, "call_id")
        if isinstance(call_id, str) and 0 < len(call_id) <= LONGEST_CALL_ID and call_id.isprintable():
            return Accepted(call_id=call_id)
        if status in GOES_ON:
            return Pending(_done(members), reply.retry_after)
        raise Refusal(f"{self.who} answered {reply.status} without `{wanted}`{reply.excerpt}")

    def _no(self, reply: Reply) -> Exception:
        if reply.status in {401, 403}:
            return Refusal(f"{self.who} refuses the credentials ({reply.status}); check {self.keys}, then try again.")
        if reply.status >= 500 or reply.status in TRY_AGAIN:
            return Trouble(f"{self.who} answered {reply.status}.", reply.retry_after)
        return Refusal(f"{self.who} does not take the run ({reply.status}){reply.excerpt}")


def _below(address: httpx.URL, path: str) -> bytes:
    """The path of an address with another one behind it; its query stays."""
    before, mark, query = address.raw_path.partition(b"?")
    return before.rstrip(b"/") + path.encode("ascii") + mark + query


def _members(reply: Reply) -> Mapping[str, msgspec.Raw] | None:
    try:
        members: Mapping[str, msgspec.Raw] = msgspec.json.decode(reply.body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return members


def _value(members: Mapping[str, msgspec.Raw], name: str) -> Any:
    return msgspec.json.decode(members[name]) if name in members else None


def _done(members: Mapping[str, msgspec.Raw] | None) -> int | None:
    """How far the other side says it is: `{"progress": {"done": 7, "total": 10}}`, if it does."""
    progress = _value(members or {}, "progress")
    done = progress.get("done") if isinstance(progress, dict) else None
    return done if isinstance(done, int) and not isinstance(done, bool) and done >= 0 else None

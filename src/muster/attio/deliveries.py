"""What Attio delivers to a webhook: whether it is Attio's, and what its events say. Pure."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

LONGEST_ID = 200  # characters; Attio's are UUIDs


def is_signed(body: bytes, signatures: Iterable[str], secrets: Iterable[SecretStr]) -> bool:
    """Whether one of the signatures is that of the raw body by one of the secrets. Takes the same time for each."""
    expected = [hmac.new(secret.get_secret_value().encode(), body, hashlib.sha256).hexdigest() for secret in secrets]
    found = False
    for signature in signatures:
        given = signature.strip().lower().removeprefix("sha256=").encode(errors="replace")
        for right in expected:
            found |= hmac.compare_digest(given, right.encode())
    return found


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a delivery, as far as it says where to look: the ids in it, and a second one after a merge."""

    ids: frozenset[str]
    merged: frozenset[str] = frozenset()


def events_of(delivery: Any, workspace_id: str | None) -> list[Event]:
    """The events of a delivery that concern this workspace; whatever else stands in it is passed over."""
    listed = delivery.get("events") if isinstance(delivery, Mapping) else None
    found = (_event(raw, workspace_id) for raw in (listed if isinstance(listed, list) else ()))
    return [event for event in found if event is not None]


def _event(raw: Any, workspace_id: str | None) -> Event | None:
    kind = raw.get("event_type") if isinstance(raw, Mapping) else None
    if not isinstance(kind, str) or not kind.startswith(("record.", "list-entry.")):
        return None
    ids = raw.get("id")
    said = {**raw, **(ids if isinstance(ids, Mapping) else {})}  # the second id of a merge stands beside, or within
    if workspace_id and said.get("workspace_id") not in (None, workspace_id):
        return None
    named = frozenset(_strings(said.get(name) for name in ("record_id", "entry_id", "duplicate_record_id")))
    merged = frozenset(_strings((said.get("record_id"), said.get("duplicate_record_id"))))
    if not named:
        return None
    return Event(named, merged if kind == "record.merged" and len(merged) == 2 else frozenset())


def _strings(values: Iterable[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str) and 0 < len(value) <= LONGEST_ID]

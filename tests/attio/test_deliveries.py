"""What Attio delivers: signed or not, and where its events say to look."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from muster.attio.deliveries import Event, events_of, is_signed
from tests.attio.test_values import JSON

SECRET, OTHER = SecretStr("a secret that Attio showed once"), SecretStr("the one before")
BODY = b'{"webhook_id":"w","events":[]}'
WORKSPACE = "14beef7a"


def signature(body: bytes, secret: SecretStr = SECRET) -> str:
    return hmac.new(secret.get_secret_value().encode(), body, hashlib.sha256).hexdigest()


def event(kind: str, **ids: str) -> dict[str, Any]:
    beside = {name: ids.pop(name) for name in list(ids) if name.startswith(("parent_", "duplicate_"))}
    return {"event_type": kind, "id": {"workspace_id": WORKSPACE, **ids}, "actor": {"type": "system"}, **beside}


@pytest.mark.parametrize(
    ("signatures", "good"),
    [
        ([signature(BODY)], True),
        ([signature(BODY).upper()], True),
        (["sha256=" + signature(BODY)], True),
        (["wrong", signature(BODY, OTHER)], True),
        ([signature(BODY + b" ")], False),
        ([signature(BODY, SecretStr("somebody else's"))], False),
        ([signature(BODY)[:-1]], False),
        ([""], False),
        (["é😀"], False),
        ([], False),
    ],
)
def test_a_delivery_is_attios_when_it_is_signed_with_a_secret_of_ours(signatures: list[str], good: bool) -> None:
    assert is_signed(BODY, signatures, [SECRET, OTHER]) is good
    assert not is_signed(BODY, signatures, [])


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (event("record.updated", object_id="o", record_id="r1", attribute_id="a"), [Event(frozenset({"r1"}))]),
        (event("record.deleted", object_id="o", record_id="r1"), [Event(frozenset({"r1"}))]),
        (
            event("record.merged", record_id="r1", duplicate_object_id="o", duplicate_record_id="r2"),
            [Event(frozenset({"r1", "r2"}), frozenset({"r1", "r2"}))],
        ),
        (event("record.merged", record_id="r1", duplicate_record_id="r1"), [Event(frozenset({"r1"}))]),
        (
            event("list-entry.updated", list_id="l", entry_id="e1", parent_object_id="o", parent_record_id="r1"),
            [Event(frozenset({"e1"}))],
        ),
        (event("note.created", note_id="n"), []),
        (event("record.vanished", record_id="r1"), [Event(frozenset({"r1"}))]),
        ({"event_type": "record.updated", "id": {"workspace_id": "another", "record_id": "r1"}}, []),
        ({"event_type": "record.updated", "id": {"record_id": "r1"}}, [Event(frozenset({"r1"}))]),
        ({"event_type": "record.updated", "id": {"record_id": ""}}, []),
        ({"event_type": "record.updated"}, []),
        ("nonsense", []),
        (None, []),
    ],
)
def test_events_say_where_to_look(raw: Any, found: list[Event]) -> None:
    assert events_of({"webhook_id": "w", "events": [raw]}, WORKSPACE) == found


def test_a_second_id_within_the_first_counts_too() -> None:
    raw = {"event_type": "record.merged", "id": {"record_id": "r1", "duplicate_record_id": "r2"}}
    assert events_of({"events": [raw]}, None) == [Event(frozenset({"r1", "r2"}), frozenset({"r1", "r2"}))]


@given(delivery=JSON | st.fixed_dictionaries({"events": JSON | st.lists(JSON)}))
def test_whatever_is_delivered_is_passed_over_or_understood(delivery: Any) -> None:
    assert all(event.ids for event in events_of(delivery, WORKSPACE))
    assert events_of(json.loads(json.dumps(delivery)), WORKSPACE) == events_of(delivery, WORKSPACE)

"""Whose profile is an Attio record? A person's may be that of a contact who has the same e-mail address.

The first time it is found by address; from then on the metadata knows it, so that a record keeps its profile over every
re-import, whatever becomes of addresses. A record has a profile of its own, `attio:<record id>`, unless its address
belongs to exactly one contact, whom no other record has joined. The first record with an address has it: another one
that comes with the same address keeps a profile of its own, and is reported.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from muster.attio.documents import AttioImport
from muster.attio.models import Record
from muster.attio.selecting import Found
from muster.attio.values import current_values
from muster.records.addresses import contacts_with, normalised_address


@dataclass(frozen=True, slots=True)
class Whose:
    """The profile of a record; `conflict` says why a person did not join the one that has the same address."""

    pii_id: str
    addresses: Sequence[str] = ()
    conflict: str | None = None


@dataclass(slots=True)
class _Known:
    """What metadata and contacts say about the addresses of a batch."""

    profiles: dict[str, str] = field(default_factory=dict)  # by record
    holders: defaultdict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))  # by address
    contacts: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by address
    taken: dict[str, str] = field(default_factory=dict)  # by profile: the person who is it


async def owners_of(project_id: str, found: Iterable[Found]) -> dict[str, Whose]:
    """Whose profile each of these records is, by record id; those that come first have the first claim."""
    records = {one.record.record_id: one for one in found}
    addresses = {
        record_id: addresses_of(one.record) for record_id, one in records.items() if one.object_slug == "people"
    }
    known = await _look_up(project_id, list(records), {each for some in addresses.values() for each in some})
    return {record_id: _decide(record_id, addresses.get(record_id, ()), known) for record_id in records}


def addresses_of(record: Record) -> Sequence[str]:
    """The e-mail addresses of a person, normalised, each once, in Attio's order."""
    values = current_values(record.values, "email_addresses")
    written = [value.get("email_address") or value.get("original_email_address") for value in values]
    normalised = [normalised_address(each) for each in written if isinstance(each, str)]
    return list(dict.fromkeys(each for each in normalised if each is not None))


async def _look_up(project_id: str, record_ids: Sequence[str], addresses: set[str]) -> _Known:
    known = _Known()
    rows = AttioImport.get_motor_collection()
    here: dict[str, Any] = {"project_id": project_id}
    async for row in rows.find({**here, "subject_id": {"$in": record_ids}}, {"subject_id": 1, "pii_id": 1}):
        if row.get("pii_id"):
            known.profiles[row["subject_id"]] = row["pii_id"]
    if not addresses:
        return known
    present = {"conflict": None, "sync_status": {"$ne": "error"}}
    held = rows.find({**here, "addresses": {"$in": list(addresses)}, **present}, {"subject_id": 1, "addresses": 1})
    async for row in held:
        for address in row["addresses"]:
            known.holders[address][row["subject_id"]] = None
    known.contacts = await contacts_with(project_id, addresses)
    candidates = [pii_id for pii_ids in known.contacts.values() for pii_id in pii_ids]
    joined = {"pii_id": {"$in": candidates}, "addresses": {"$exists": True}, "sync_status": {"$ne": "error"}}
    async for row in rows.find({**here, **joined}, {"pii_id": 1, "subject_id": 1, "attio_object_type": 1}):
        known.taken[row["pii_id"]] = row["subject_id"]
    return known


def _decide(record_id: str, addresses: Sequence[str], known: _Known) -> Whose:
    own = f"attio:{record_id}"
    conflict = _held_by_another(record_id, addresses, known)
    if record_id in known.profiles:
        pii_id = known.profiles[record_id]
    elif conflict:
        pii_id = own
    else:
        pii_id, conflict = _contact(record_id, addresses, known)
    if conflict is None:
        for address in addresses:
            known.holders[address][record_id] = None
    if addresses:
        known.taken.setdefault(pii_id, record_id)
    return Whose(pii_id, addresses, conflict)


def _held_by_another(record_id: str, addresses: Sequence[str], known: _Known) -> str | None:
    for address in addresses:
        holders = known.holders[address]
        if holders and record_id not in holders:
            return f"The record {next(iter(holders))} has the same e-mail address; this one keeps its own profile."
    return None


def _contact(record_id: str, addresses: Sequence[str], known: _Known) -> tuple[str, str | None]:
    """The contact with one of these addresses, if there is exactly one and no other record's."""
    own = f"attio:{record_id}"
    contacts = list(dict.fromkeys(pii_id for address in addresses for pii_id in known.contacts.get(address, ())))
    if len(contacts) > 1:
        named = ", ".join(contacts[:3]) + (" …" if len(contacts) > 3 else "")
        return own, f"Its e-mail addresses belong to {len(contacts)} contacts ({named}); it has a profile of its own."
    if contacts and known.taken.get(contacts[0], record_id) != record_id:
        taker = known.taken[contacts[0]]
        return own, f"The record {taker} is the contact with this e-mail address already; this one has its own profile."
    return (contacts[0] if contacts else own), None

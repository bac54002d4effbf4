"""Contacts are found by their address, however it was written, and by an index."""

from typing import Any

import pytest

from muster.records.addresses import contacts_with, normalised_address
from muster.records.bulk import upsert_parts
from muster.records.documents import ADDRESS_COLLATION, Profile
from muster.resources import Resources

PROJECT = "PRJ-1"


@pytest.mark.parametrize(
    ("written", "normalised"),
    [
        ("ada@x.org", "ada@x.org"),
        (" Ada@X.ORG\n", "ada@x.org"),
        ("Zoe\u0308@x.org", "zo\u00eb@x.org"),
        ("a@b@c", "a@b@c"),
        ("nobody", None),
        ("@x.org", None),
        ("ada@", None),
        ("", None),
    ],
)
def test_an_address_has_one_form(written: str, normalised: str | None) -> None:
    assert normalised_address(written) == normalised


async def test_contacts_are_found_however_their_address_was_written(clean: Resources) -> None:
    await contacts(
        PROJECT,
        P1="ada@x.org",
        P2=" Ben@X.Org ",
        P3="same@x.org",
        P4="SAME@x.org",
        P5="Zoe\u0308@x.org",
        P6="caf\u00e9@x.org",
        P7="no address",
    )
    await contacts("PRJ-2", Q1="ada@x.org")
    await upsert_parts(PROJECT, [("P9", {"contact": {"name": "without one"}}), ("P10", {"lead": {}})])
    found = await contacts_with(
        PROJECT,
        {
            *("ada@x.org", "ben@x.org", "same@x.org", "zo\u00eb@x.org", "cafe@x.org", "nobody@x.org"),
            "no address",
        },
    )
    assert {address: sorted(pii_ids) for address, pii_ids in found.items()} == {
        "ada@x.org": ["P1"],
        "ben@x.org": ["P2"],
        "same@x.org": ["P3", "P4"],
        "zo\u00eb@x.org": ["P5"],
    }
    assert await contacts_with(PROJECT, set()) == {}
    assert clean is not None


async def test_it_is_the_index_that_finds_them(clean: Resources) -> None:
    """Among many contacts, a look for some costs some."""
    await upsert_parts(PROJECT, [(f"P{number}", {"contact": {"email": f"p{number}@x.org"}}) for number in range(1_000)])
    wanted = {"project_id": PROJECT, "contact.email": {"$in": [f"P{number}@X.org" for number in range(0, 100, 10)]}}
    find = {"find": "profiles", "filter": wanted, "collation": ADDRESS_COLLATION.document}
    plan: dict[str, Any] = await clean.database.command("explain", find, verbosity="executionStats")
    assert plan["executionStats"]["nReturned"] == 10
    assert plan["executionStats"]["totalDocsExamined"] == 10
    assert plan["executionStats"]["totalKeysExamined"] <= 30
    assert await Profile.find({"project_id": PROJECT}).count() == 1_000


async def contacts(project: str, **addresses: str) -> None:
    await upsert_parts(project, [(pii_id, {"contact": {"email": email}}) for pii_id, email in addresses.items()])

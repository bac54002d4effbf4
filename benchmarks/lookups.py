"""The layout that one would write first: leads, contacts and customers apart, joined by two `$lookup`s on `pii_id`."""

from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase

from muster.records.documents import Profile

Pipeline = list[dict[str, Any]]


async def three_collections(database: AsyncIOMotorDatabase[dict[str, Any]]) -> None:
    """The same records as three collections, each with an index on `pii_id`."""
    for part, name in (("lead", "leads"), ("contact", "contacts"), ("customer", "customers")):
        there: Pipeline = [
            {"$match": {part: {"$exists": True}}},
            {"$replaceWith": {"$mergeObjects": [f"${part}", {"_id": "$_id", "pii_id": "$pii_id"}]}},
            {"$out": name},
        ]
        await Profile.get_motor_collection().aggregate(there).to_list(None)
        await database[name].create_index("pii_id")


def joined(match: dict[str, Any], *, leads: int | None = None) -> Pipeline:
    """The `pii_id`s of the leads, or of the first so many, whose lead (without prefix), contact and customer match."""
    joins: Pipeline = []
    for name, part in (("contacts", "contact"), ("customers", "customer")):
        of_same = {"from": name, "localField": "pii_id", "foreignField": "pii_id", "as": part}
        joins += [{"$lookup": of_same}, {"$unwind": {"path": f"${part}", "preserveNullAndEmptyArrays": True}}]
    # What can be filtered before the joins is: the optimiser would do as much for `and`.
    early = {name: test for name, test in match.items() if not name.startswith(("$", "contact", "customer"))}
    first: Pipeline = [{"$limit": leads}] if leads else []
    return [*first, {"$match": early}, *joins, {"$match": match}, {"$project": {"_id": 0, "pii_id": 1}}]

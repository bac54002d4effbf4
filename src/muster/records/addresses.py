"""Whose e-mail address is it: contacts found by their address, however it was written."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from muster.records.documents import ADDRESS_COLLATION, Profile


def normalised_address(address: str) -> str | None:
    """One form for all ways to write an address: no white space around it, no capitals. None when it is none."""
    found = unicodedata.normalize("NFC", address.strip().lower())
    name, at, domain = found.rpartition("@")
    return found if at and name and domain else None


async def contacts_with(project_id: str, addresses: Collection[str]) -> Mapping[str, Sequence[str]]:
    """The `pii_id`s of the contacts that have each of these normalised addresses; an address of nobody is left out.

    `contact.email` is stored as it came. An index that takes no notice of capitals and white space finds whoever may
    have the address; the normalised form decides.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    if not addresses:
        return found
    candidates = Profile.get_motor_collection().find(
        {"project_id": project_id, "contact.email": {"$in": list(addresses)}},
        {"pii_id": 1, "contact.email": 1},
        collation=ADDRESS_COLLATION,
    )
    async for profile in candidates:
        address = normalised_address(profile["contact"]["email"])
        if address is not None and address in addresses:
            found[address].append(profile["pii_id"])
    return found

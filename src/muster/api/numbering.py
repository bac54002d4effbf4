"""Numbers that are unique in the installation: PRJ-1, COH-1, RUN-1 …"""

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from muster.api.documents import Counter


async def next_number(prefix: str) -> str:
    """Take the next number under a prefix, such as "PRJ-7". A number once taken is never given again."""
    counters = Counter.get_motor_collection()
    while True:
        try:
            counter = await counters.find_one_and_update(
                {"_id": prefix}, {"$inc": {"value": 1}}, upsert=True, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:  # two callers took the first number at once; the loser counts on
            continue
        return f"{prefix}-{counter['value']}"

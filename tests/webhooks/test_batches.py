"""Which changes travel together, against a brute force: whoever reads the batches in turn knows who is in."""

from datetime import UTC, datetime

from bson import ObjectId, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from muster.webhooks.batches import PER_DELIVERY, Entry, batched, delivery_id
from muster.webhooks.documents import Event

NOW = datetime.now(UTC)
PROFILES = [ObjectId() for _ in range(40)]
MOVES = st.lists(st.tuples(st.integers(0, len(PROFILES) - 1), st.booleans()), max_size=400)


def entries(moves: list[tuple[int, bool]]) -> list[Entry]:
    return [
        Entry(ObjectId(), "COH-1", Event.ENTERED if enters else Event.LEFT, PROFILES[who], NOW, Timestamp(1, 1))
        for who, enters in moves
    ]


@given(MOVES)
def test_every_change_is_told_once_and_every_profile_s_in_order(moves: list[tuple[int, bool]]) -> None:
    happened = entries(moves)
    batches = batched(happened)
    told = [entry for batch in batches for entry in batch]
    assert sorted(entry.id for entry in told) == sorted(entry.id for entry in happened)
    for profile in PROFILES:
        assert [e for e in told if e.profile == profile] == [e for e in happened if e.profile == profile]
    for batch in batches:
        assert 0 < len(batch) <= PER_DELIVERY
        assert len({entry.event for entry in batch}) == 1


def test_a_mixed_burst_is_few_batches() -> None:
    """Not one for every change of direction, as long as different profiles move."""
    everybody = [ObjectId() for _ in range(1000)]
    mixed = [
        Entry(ObjectId(), "COH-1", (Event.ENTERED, Event.LEFT)[index % 2], profile, NOW, Timestamp(1, 1))
        for index, profile in enumerate(everybody)
    ]
    assert [len(batch) for batch in batched(mixed)] == [PER_DELIVERY] * 10


def test_an_id_says_what_is_told_and_to_whom() -> None:
    ids = {
        delivery_id("WHK-1", Event.ENTERED, "a", "b"),
        delivery_id("WHK-2", Event.ENTERED, "a", "b"),
        delivery_id("WHK-1", Event.LEFT, "a", "b"),
        delivery_id("WHK-1", Event.ENTERED, "ab"),
        delivery_id("WHK-1", Event.ENTERED, "b", "a"),
    }
    assert len(ids) == 5
    assert delivery_id("WHK-1", Event.ENTERED, "a", "b") in ids

"""All pages of a list whose rows come and go while it is read."""

import asyncio
import random
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.attio.errors import AttioApiError, AttioUnavailable
from muster.attio.paging import MOST_STEPS_BACK, OVERLAP, all_pages

PAGE = 50


class Shelf:
    """Rows by age, of which some go and some come before each page is read."""

    def __init__(self, count: int, seed: int = 0, *, goes: int = 0, comes: int = 0) -> None:
        self.rows = [f"row-{number}" for number in range(count)]
        self.gone: set[str] = set()
        self.goes, self.comes, self.random = goes, comes, random.Random(seed)
        self.offsets: list[int] = []

    async def page(self, offset: int) -> list[str]:
        if self.offsets:
            for _ in range(self.random.randint(0, self.goes)):
                if self.rows:
                    self.gone.add(self.rows.pop(self.random.randrange(len(self.rows))))
            for _ in range(self.random.randint(0, self.comes)):
                self.rows.append(f"new-{len(self.offsets)}-{self.random.random()}")
        self.offsets.append(offset)
        return self.rows[offset : offset + PAGE]


async def read(shelf: Shelf) -> list[str]:
    return [row async for batch in all_pages(shelf.page, str, PAGE) for row in batch]


@pytest.mark.parametrize("count", [0, 1, 2, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 7 * PAGE + 3])
async def test_every_row_once_in_order(count: int) -> None:
    shelf = Shelf(count)
    assert await read(shelf) == [f"row-{number}" for number in range(count)]
    assert len(shelf.offsets) <= count // (PAGE - OVERLAP) + 2


@given(count=st.integers(0, 400), seed=st.integers(0, 10_000), goes=st.integers(0, 60), comes=st.integers(0, 10))
def test_whatever_comes_and_goes_nothing_that_stays_is_missed_or_doubled(
    count: int, seed: int, goes: int, comes: int
) -> None:
    shelf = Shelf(count, seed, goes=goes, comes=comes)
    found = asyncio.run(read(shelf))
    assert len(set(found)) == len(found)
    stayed = {f"row-{number}" for number in range(count)} - shelf.gone
    assert stayed <= set(found)


async def test_a_server_that_gives_less_than_it_was_asked_for_loses_nothing() -> None:
    shelf = Shelf(333)

    async def short(offset: int) -> list[str]:
        return (await shelf.page(offset))[:7]

    found = [row async for batch in all_pages(short, str, PAGE) for row in batch]
    assert found == [f"row-{number}" for number in range(333)]


async def test_a_server_that_does_not_mind_the_offset_is_found_out() -> None:
    shelf = Shelf(PAGE)

    async def same(_: int) -> list[str]:
        return await shelf.page(0)

    with pytest.raises(AttioApiError, match="the same rows"):
        [row async for row in all_pages(same, str, PAGE)]
    assert len(shelf.offsets) <= MOST_STEPS_BACK + 2


async def test_an_order_that_changes_all_the_time_ends_all_the_same() -> None:
    shelf = Shelf(400)

    async def shuffled(offset: int) -> list[str]:
        shelf.random.shuffle(shelf.rows)
        return await shelf.page(offset)

    found = [row async for batch in all_pages(shuffled, str, PAGE) for row in batch]
    assert len(set(found)) == len(found)


async def test_the_next_page_is_on_its_way_while_the_caller_works() -> None:
    shelf = Shelf(3 * PAGE)
    async with aclosing(all_pages(shelf.page, str, PAGE)) as pages:
        await anext(pages)
        await asyncio.sleep(0)
        assert len(shelf.offsets) == 2


async def test_who_leaves_early_leaves_nothing_behind() -> None:
    cancelled = asyncio.Event()

    async def page(offset: int) -> list[str]:
        if offset:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return [f"row-{number}" for number in range(PAGE)]

    async with aclosing(all_pages(page, str, PAGE)) as pages:
        await anext(pages)
        await asyncio.sleep(0)
    assert cancelled.is_set()


async def test_a_page_that_fails_fails_the_walk_after_the_batch_before_it() -> None:
    async def page(offset: int) -> list[str]:
        if offset:
            raise AttioUnavailable("Attio is away.")
        return [f"row-{number}" for number in range(PAGE)]

    pages = all_pages(page, str, PAGE)
    assert len(await anext(pages)) == PAGE
    with pytest.raises(AttioUnavailable):
        await anext(pages)

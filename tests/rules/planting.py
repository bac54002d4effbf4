"""A bug to plant, to see that the differential test finds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from muster.rules import translating

_TURNED = {"$lt": "$gte", "$lte": "$gt", "$gt": "$lte", "$gte": "$lt"}


@contextmanager
def naive_negation() -> Iterator[None]:
    """MongoDB's `not` by turning the operator round, as one would write it first: wrong without a value."""
    right = translating.to_filter

    def wrong(condition: Any, moments: Any, members: Any = None) -> Any:
        made = right(condition, moments, members)
        if "$nor" in made and len(made["$nor"]) == 1:
            (name, test), *_ = made["$nor"][0].items()
            if isinstance(test, dict) and next(iter(test)) in _TURNED:
                return {name: {_TURNED[operator]: value for operator, value in test.items()}}
        return made

    with patch("muster.rules.translating.to_filter", wrong), patch("muster.rules.planning.to_filter", wrong):
        yield

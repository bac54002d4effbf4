"""The filter grammar of Attio's queries, as its documentation has it."""

from typing import Any

import pytest

from muster.sandbox.attio_filters import WrongFilter, compile_filter

SLUGS = frozenset({"name", "score", "domains", "tier", "company", "since", "is_partner", "empty", "record_id"})
ACME = {
    "id": {"record_id": "c-1"},
    "values": {"name": [{"value": "Acme"}], "domains": [{"domain": "acme.example", "root_domain": "acme.example"}]},
}
ADA: dict[str, Any] = {
    "id": {"record_id": "p-1"},
    "created_at": "2025-01-06T09:00:00.000000000Z",
    "values": {
        "name": [{"first_name": "Ada", "last_name": "Ng", "full_name": "Ada Ng"}],
        "score": [{"value": 7}],
        "is_partner": [{"value": True}],
        "tier": [{"option": {"id": {"option_id": "o-1"}, "title": "Gold"}}, {"option": "o-2"}],
        "company": [{"target_object": "companies", "target_record_id": "c-1"}],
        "since": [{"value": "2024-05-01"}],
        "empty": [],
    },
}
OVER = [["people", "company"], ["companies", "domains"]]


def holds(filter_: Any) -> bool:
    return compile_filter(
        filter_, SLUGS, lambda slug, row_id: ACME if (slug, row_id) == ("companies", "c-1") else None
    )(ADA)


@pytest.mark.parametrize(
    "filter_",
    [
        {},
        {"name": "Ada Ng"},
        {"name": {"$eq": "Ada Ng"}},
        {"name": {"$contains": "ADA"}},
        {"name": {"$starts_with": "ad"}},
        {"name": {"$ends_with": "ng"}},
        {"name": {"last_name": {"$eq": "Ng"}}},
        {"name": {"last_name": "Ng", "first_name": {"$contains": "a"}}},
        {"score": 7},
        {"score": {"$gt": 6, "$lt": 8}},
        {"score": {"$gte": 7, "$lte": 7}},
        {"score": {"$in": [1, 7]}},
        {"is_partner": True},
        {"tier": "Gold"},
        {"tier": {"$in": ["o-1"]}},
        {"tier": {"$eq": "o-2"}},
        {"since": {"$gte": "2024-01-01"}},
        {"empty": {"$not_empty": False}},
        {"score": {"$not_empty": True}},
        {"company": "c-1"},
        {"record_id": {"$in": ["p-0", "p-1"]}},
        {"name": "Ada Ng", "score": 7},
        {"$and": [{"score": 7}, {"tier": "Gold"}]},
        {"$or": [{"score": 8}, {"tier": "Gold"}]},
        {"$not": {"score": 8}},
        {"$or": [{"$not": {"score": 7}}, {"$and": [{"name": {"$contains": "ng"}}]}]},
        {"path": OVER, "constraints": {"domain": {"$ends_with": ".example"}}},
    ],
)
def test_what_holds(filter_: Any) -> None:
    assert holds(filter_)
    assert not holds({"$not": filter_})


@pytest.mark.parametrize(
    "filter_",
    [
        {"name": "ada ng"},
        {"name": {"last_name": "Na"}},
        {"score": "7"},
        {"score": {"$gt": 7}},
        {"score": {"$gt": "6"}},
        {"is_partner": 1},
        {"empty": {"$contains": ""}},
        {"empty": {"$not_empty": True}},
        {"name": "Ada Ng", "score": 8},
        {"path": OVER, "constraints": {"domain": "other.example"}},
        {"$or": []},
    ],
)
def test_what_does_not(filter_: Any) -> None:
    assert not holds(filter_)


@pytest.mark.parametrize(
    ("filter_", "code"),
    [
        ({"shoe_size": 43}, "unknown_filter_attribute_slug"),
        ({"name": {"$ne": "Ada"}}, "filter_error"),
        ({"$xor": []}, "filter_error"),
        ({"$and": {}}, "filter_error"),
        ({"score": {"$in": 7}}, "filter_error"),
        ({"path": "x", "constraints": {}}, "filter_error"),
        ([], "filter_error"),
        ("name", "filter_error"),
    ],
)
def test_what_attio_refuses(filter_: Any, code: str) -> None:
    with pytest.raises(WrongFilter) as caught:
        holds(filter_)
    assert caught.value.code == code


def test_a_filter_that_nests_without_end_is_refused() -> None:
    filter_: Any = {"score": 7}
    for _ in range(100):
        filter_ = {"$not": filter_}
    with pytest.raises(WrongFilter):
        holds(filter_)

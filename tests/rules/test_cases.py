"""The cases of `cases.yaml`: each rule by every engine."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from muster.rules import plan_rule, read_rule
from tests.rules.conftest import Profiles
from tests.rules.engines import NOW, REGISTRY, by_explanation, by_mongodb, by_oracle, by_predicate

CASES = [
    pytest.param(case, text, id=f"{case['about']}: {text}"[:120])
    for case in yaml.safe_load((Path(__file__).parent / "cases.yaml").read_text("utf-8"))
    for text in case["rules"].splitlines()
]


def _profile(case: dict[str, Any]) -> dict[str, Any]:
    parts = {"lead": {}, **case["profile"]}
    return {"_id": 1, **{part: values for part, values in parts.items() if values is not None}}


@pytest.mark.parametrize(("case", "text"), CASES)
def test_every_engine_gives_the_answer_of_the_case(case: dict[str, Any], text: str, profiles: Profiles) -> None:
    """Oracle, predicate, MongoDB with residual, and the root of explain."""
    rule = read_rule(text, REGISTRY, time_zone=case.get("time_zone", "UTC"))
    now = case.get("now", NOW)
    profile = _profile(case)
    profiles.insert_one(profile)
    expected = {1} if case["holds"] else set()

    assert by_oracle(rule, [profile], now) == expected
    assert by_predicate(rule, [profile], now) == expected
    assert by_mongodb(rule, profiles, now) == expected
    assert by_explanation(rule, [profile], now) == expected
    if where := case.get("where"):
        assert plan_rule(rule).strategy == where


def test_a_text_of_300_kilobytes_is_compared_as_itself(profiles: Profiles) -> None:
    """Long text in the rule and in the profile, equal and almost equal."""
    text = "x" * 300_000
    stored = [
        {"_id": 1, "lead": {"status": text}},
        {"_id": 2, "lead": {"status": text + "y"}},
        {"_id": 3, "lead": {"name": f"a{text}b"}},
    ]
    profiles.insert_many(stored)
    for condition, expected in ((f'lead.status == "{text}"', {1}), (f'"{text}" in lead.name', {3})):
        rule = read_rule(condition, REGISTRY)
        assert by_oracle(rule, stored) == by_predicate(rule, stored) == by_mongodb(rule, profiles) == expected


def test_the_dates_of_the_cases_are_aware() -> None:
    """A naive date in the file would compare with nothing and prove nothing."""
    dates = [
        value
        for case in yaml.safe_load((Path(__file__).parent / "cases.yaml").read_text("utf-8"))
        for part in case["profile"].values()
        for value in (part or {}).values()
        if isinstance(value, datetime)
    ]
    assert dates
    assert {date.utcoffset() for date in dates} == {UTC.utcoffset(None)}

"""The demo workspace: the same by seed, accepted by every field, and true to life where rules look."""

from datetime import UTC, date, datetime
from statistics import mean
from typing import Any

import pytest
import yaml

from muster.records import registry_file
from muster.records.demo import generate
from muster.records.fields import Fields
from muster.rules import compile_rule, read_rule
from muster.settings import bundled

ANCHOR = date(2026, 1, 31)
NOW = datetime(2026, 1, 31, 9, tzinfo=UTC)
MANY = 4_000

Profile = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def profiles() -> list[Profile]:
    """A workspace as it is stored; a line that a field refuses fails here."""
    fields = Fields(registry_file.read(bundled("rules") / "fields.yaml"))
    stored = []
    for line in generate(MANY, 7, ANCHOR):
        profile = {}
        for part, value in line.items():
            if part != "pii_id":
                read = fields.read_part(part, value)
                assert not read.problems, (line, read.problems)
                profile[part] = read.values
        assert profile, line
        stored.append(profile)
    return stored


def test_the_same_arguments_give_the_same_lines_and_others_do_not() -> None:
    assert list(generate(300, 7, ANCHOR)) == list(generate(300, 7, ANCHOR))
    assert list(generate(300, 8, ANCHOR)) != list(generate(300, 7, ANCHOR))


def test_a_larger_workspace_begins_with_the_smaller_one() -> None:
    assert list(generate(500, 7, ANCHOR))[:100] == list(generate(100, 7, ANCHOR))


def test_identifiers_and_addresses_are_unique_and_nobodys() -> None:
    lines = list(generate(MANY, 7, ANCHOR))
    assert len({line["pii_id"] for line in lines}) == MANY
    emails = [line["contact"]["email"] for line in lines if "email" in line.get("contact", {})]
    assert len(set(emails)) == len(emails) > MANY / 2
    assert all(email.endswith(".example") and email.isascii() for email in emails)


def test_nothing_happens_before_it_can_or_after_the_end(profiles: list[Profile]) -> None:
    end = datetime(2026, 1, 31, tzinfo=UTC)
    active = bought = 0
    for profile in profiles:
        lead, contact, customer = (profile.get(part, {}) for part in ("lead", "contact", "customer"))
        if "last_activity_at" in lead:
            active += 1
            assert lead["created_at"] < lead["last_activity_at"] < end
        if "created_at" in lead and "created_at" in contact:
            assert lead["created_at"] <= contact["created_at"] < end
        if "first_purchase_at" in customer:
            bought += 1
            assert contact["created_at"] <= customer["first_purchase_at"] <= customer["last_purchase_at"] < end
    assert active > MANY / 2
    assert bought > MANY / 10


def test_fields_go_together_as_they_do_in_life(profiles: list[Profile]) -> None:
    customers = [profile for profile in profiles if "customer" in profile]
    value = {
        plan: mean(
            profile["customer"]["lifetime_value"] for profile in customers if profile["customer"]["plan"] == plan
        )
        for plan in ("trial", "starter", "pro", "enterprise")
    }
    assert value["trial"] == 0 < value["starter"] < value["pro"] < value["enterprise"]
    paying = [profile["customer"] for profile in customers if profile["customer"]["plan"] == "pro"]
    often = mean(customer["lifetime_value"] for customer in paying if customer["orders_count"] >= 12)
    seldom = mean(customer["lifetime_value"] for customer in paying if customer["orders_count"] < 12)
    assert often > 2 * seldom
    assert all(customer["mrr"] == 0 for customer in paying if customer["churned"])

    def silent(churned: bool) -> float:
        return mean(
            (NOW - profile["lead"]["last_activity_at"]).days
            for profile in customers
            if profile["customer"]["churned"] is churned and "last_activity_at" in profile.get("lead", {})
        )

    assert silent(churned=True) > 2 * silent(churned=False)

    def score(status: str) -> float:
        leads = [profile["lead"] for profile in profiles if profile.get("lead", {}).get("status") == status]
        return mean(lead["score"] for lead in leads if "score" in lead)

    assert score("lost") < score("working") < score("qualified")


def test_some_of_everything_is_missing(profiles: list[Profile]) -> None:
    for part in ("lead", "contact", "customer", "person", "company"):
        assert 0 < sum(part in profile for profile in profiles) < MANY, part
    contacts = [profile["contact"] for profile in profiles if "contact" in profile]
    for field in ("email", "phone", "city", "job_title", "opted_in", "birth_date"):
        assert 0 < sum(field in contact for contact in contacts) < len(contacts), field


@pytest.mark.parametrize("file", sorted((bundled("rules") / "cohorts").glob("*.yaml")), ids=lambda file: str(file.stem))
def test_each_cohort_file_finds_a_believable_share(file: Any, profiles: list[Profile]) -> None:
    rule = yaml.safe_load(file.read_text())["rule"]
    matches = compile_rule(read_rule(rule, registry_file.read(bundled("rules") / "fields.yaml")))
    share = sum(matches(profile, NOW) for profile in profiles) / MANY
    assert 0.005 < share < 0.3

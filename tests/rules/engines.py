"""The engines that must agree about a rule, and the registry that rules are tried with."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pymongo.collection import Collection

from muster.rules import FieldType, Plan, Registry, Rule, RuleError, compile_rule, explain, oracle, plan_rule, read_rule

NOW = datetime(2026, 6, 15, 12, 30, 45, 678000, tzinfo=UTC)

REGISTRY: Registry = {
    "lead.status": FieldType.STRING,
    "lead.name": FieldType.STRING,
    "lead.score": FieldType.NUMBER,
    "lead.amount": FieldType.NUMBER,
    "lead.active": FieldType.BOOLEAN,
    "lead.tags": FieldType.STRINGS,
    "lead.points": FieldType.NUMBERS,
    "lead.created_at": FieldType.DATETIME,
    "lead.last_activity_at": FieldType.DATETIME,
    "contact.email": FieldType.STRING,
    "contact.country": FieldType.STRING,
    "contact.opted_in": FieldType.BOOLEAN,
    "customer.plan": FieldType.STRING,
    "customer.lifetime_value": FieldType.NUMBER,
    "customer.tags": FieldType.STRINGS,
    "customer.churned": FieldType.BOOLEAN,
    "customer.first_purchase_at": FieldType.DATETIME,
    "person.name": FieldType.STRING,
    "person.country": FieldType.STRING,
    "company.name": FieldType.STRING,
    "company.domains": FieldType.STRINGS,
    "company.funding_raised_usd": FieldType.NUMBER,
}

Profile = Mapping[str, Any]


def read_or_refuse(source: Any, cohorts: Mapping[str, Rule | None] | None = None) -> Rule | RuleError:
    """The rule, or the error with which it is refused; anything else that is raised fails the test."""
    try:
        return read_rule(source, REGISTRY, cohorts=cohorts)
    except RuleError as error:
        return error


def by_oracle(rule: Rule, stored: list[dict[str, Any]], now: datetime = NOW) -> set[Any]:
    """The ids of the profiles that the oracle lets in."""
    holds = oracle(rule)
    return {profile["_id"] for profile in stored if holds(profile, now)}


def by_predicate(rule: Rule, stored: list[dict[str, Any]], now: datetime = NOW) -> set[Any]:
    """The same by the compiled predicate."""
    holds = compile_rule(rule)
    return {profile["_id"] for profile in stored if holds(profile, now)}


def by_mongodb(
    rule: Rule, profiles: Collection[dict[str, Any]], now: datetime = NOW, plan: Plan | None = None
) -> set[Any]:
    """The same by the plan: MongoDB's filter, then the residual over what it lets through, projected as planned."""
    plan = plan or plan_rule(rule)
    if plan.residual is None:
        return {found["_id"] for found in profiles.find(plan.match_at(now), {"_id": 1})}
    return {found["_id"] for found in profiles.find(plan.match_at(now), plan.projection) if plan.accepts(found, now)}


def by_explanation(rule: Rule, stored: list[dict[str, Any]], now: datetime = NOW) -> set[Any]:
    """The same by the root of explain."""
    return {profile["_id"] for profile in stored if explain(rule, profile, now).result}

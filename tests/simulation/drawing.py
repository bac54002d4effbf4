"""What the simulation draws by chance: values, parts, changes of profiles, and rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar

from muster.records.updates import Changes, FieldChanges, PartChange
from muster.rules import FieldType, Registry
from tests.rules import generation
from tests.rules.engines import REGISTRY

T = TypeVar("T")

PARTS = ("lead", "contact", "customer", "person", "company")
COUNTRIES = ("US", "FR", "DE")
STATUSES = ("open", "won", "lost")
TAGS = ("vip", "new", "eu", "silent")
PLAIN: Mapping[str, Sequence[Any]] = {
    "lead.status": STATUSES,
    "lead.name": ("Ann", "Bob", "Anne", "Hannelore"),
    "lead.score": [float(round(100 * (step / 25) ** 2)) for step in range(26)],  # the high ones are rare, as in life
    "lead.amount": [0.0, 0.1, 0.2, 0.3, 2.5, 7.0, 100.0],
    "contact.email": ("ann@x.org", "nana@y.co.uk", "bob@x.org"),
    "contact.country": COUNTRIES,
    "customer.plan": ("free", "pro", "team"),
    "customer.lifetime_value": [float(round(1_000 * (step / 20) ** 2)) for step in range(21)],
    "person.country": COUNTRIES,
    "company.funding_raised_usd": [0.0, 1.0, 3.0, 1e6, 5e6],
}
AGES = [timedelta(), timedelta(days=1), timedelta(days=7), timedelta(days=30), timedelta(hours=36), timedelta(days=365)]
FIELDS: Mapping[str, Sequence[tuple[str, FieldType]]] = {
    part: [(name.partition(".")[2], kind) for name, kind in REGISTRY.items() if name.startswith(f"{part}.")]
    for part in PARTS
}
# Beyond what the ingress takes: a NUL, and numbers that a double cannot count to.
_WORDS = [word for word in generation.WORDS if "\0" not in word]
_NUMBERS = [float(number) + 0.0 for number in generation.NUMBERS if abs(number) <= 2**53]


@dataclass
class Chance(generation.Choices):
    """Where all chance comes from. `now` is when dates are near to."""

    random: Random
    now: datetime

    def choice(self, options: Sequence[T]) -> T:
        return self.random.choice(options)

    def integer(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def odds(self, of: float) -> bool:
        """True so often."""
        return self.random.random() < of


def value(chance: Chance, name: str, *, plain: bool = False) -> Any:
    """A value as it is stored: mostly one that people would have, at times a hostile one unless `plain`."""
    kind = REGISTRY[name]
    if kind is FieldType.DATETIME:
        return moment(chance)
    if name in PLAIN and (plain or chance.odds(0.85)):
        return chance.choice(PLAIN[name])
    match kind:
        case FieldType.STRING:
            return chance.choice(PLAIN.get(name, TAGS) if plain else _WORDS)
        case FieldType.NUMBER:
            return chance.choice(_NUMBERS)
        case FieldType.BOOLEAN:
            return chance.odds(0.5)
        case FieldType.STRINGS:
            words = TAGS if plain or chance.odds(0.8) else _WORDS
            return [chance.choice(words) for _ in range(chance.integer(0, 3))]
    return [chance.choice(_NUMBERS) for _ in range(chance.integer(0, 3))]


def moment(chance: Chance) -> datetime:
    """A time that some rule over `$now` is about to pass, or has just passed; now and then any other."""
    if chance.odds(0.05):
        return chance.choice(generation.MOMENTS)
    near = chance.now - chance.choice(AGES) + timedelta(seconds=chance.random.gauss(0, 3_600))
    return near.replace(microsecond=near.microsecond // 1_000 * 1_000)


def part_values(chance: Chance, part: str, *, plain: bool = False) -> dict[str, Any]:
    """A whole part; some of its fields are missing."""
    return {name: value(chance, f"{part}.{name}", plain=plain) for name, _ in FIELDS[part] if chance.odds(0.6)}


def part_of(chance: Chance) -> str:
    """Most of what changes is a lead."""
    return chance.random.choices(PARTS, (9, 4, 5, 1, 1))[0]


def changes(chance: Chance) -> Changes:
    """What one line of a bulk asks for: mostly one part, some fields of it, all of it, or that it goes."""
    found: dict[str, PartChange] = {}
    for _ in range(chance.random.choices((1, 2, 3), (8, 2, 1))[0]):
        part = part_of(chance)
        dice = chance.random.random()
        if dice < 0.1:
            found[part] = None
        elif dice < 0.4:
            found[part] = part_values(chance, part)
        else:
            names = [name for name, _ in chance.random.sample(FIELDS[part], 1 + chance.odds(0.3))]
            gone = [name for name in names if chance.odds(0.1)]
            kept = {name: value(chance, f"{part}.{name}") for name in names if name not in gone}
            found[part] = FieldChanges(kept, gone)
    return found


def after(parts: Mapping[str, Any] | None, asked: Changes) -> dict[str, Any] | None:
    """What the parts of a profile are after these changes; None while there is no profile."""
    if parts is None and all(change is None for change in asked.values()):
        return None
    result = dict(parts or {})
    for part, change in asked.items():
        if change is None:
            result.pop(part, None)
        elif isinstance(change, FieldChanges):
            merged = {**result.get(part, {}), **change.values}
            result[part] = {name: found for name, found in merged.items() if name not in change.removed}
        else:
            result[part] = dict(change)
    return result


def plain_rule(chance: Chance) -> str:
    """What people write, and MongoDB decides alone."""
    score, value_, country = chance.integer(30, 98), chance.integer(200, 950), chance.choice(COUNTRIES)
    status, tag = chance.choice(STATUSES), chance.choice(TAGS)
    return chance.choice(
        [
            f"lead.score > {score}",
            f'lead.score > {score} and contact.country == "{country}" and customer.lifetime_value > {value_}',
            f"lead.score > {score} or customer.lifetime_value > {value_}",
            f'not (contact.country in ["{country}", "US"]) and customer == null',
            f'lead.status == "{status}" and lead.score <= {score // 10}',
            f'lead.status in ["{status}", "won"] and not ("{tag}" in lead.tags) and lead.active',
            f'"{tag}" in lead.tags and not ("new" in customer.tags) and lead.amount > 1',
            f'contact.email.starts_with("an") and lead.name.ends_with("b") or lead.score == {score // 4 * 4}',
            f'(customer.lifetime_value ?? 0) > {value_} and contact.country != "{country}"',
            f"company.funding_raised_usd > {score} and company.name != null",
            f'person.country == "{country}" and lead.name in ["Ann", "Bob"]',
            f'customer.plan == "pro" ? lead.score > {score} : lead.active and lead.score > 40',
            f'contact.country == "{country}" and contact.opted_in',
            f'customer.plan == "team" and lead.status == "{status}"',
            f'"{tag}" in customer.tags and customer.churned != true',
        ]
    )


def timed_rule(chance: Chance) -> str:
    """What changes when time passes and nothing else does."""
    days, score, hours = chance.choice((1, 7, 30)), chance.integer(30, 95), chance.choice((24, 36))
    return chance.choice(
        [
            f'$now - lead.last_activity_at > t"P{days}D"',
            f'$now - lead.last_activity_at <= t"P{days}D" and lead.score > {score}',
            f'lead.created_at > $now - t"PT{hours}H" or lead.score > {score}',
            f'customer.first_purchase_at != null and not (customer.first_purchase_at < $now - t"P{days}D")',
            f'lead.last_activity_at < $now and lead.last_activity_at > $now - t"P{days}D"',
            f'lead.created_at >= $today - t"P{days}D"',
            "lead.last_activity_at.date == $today",
            f"$days_since(lead.last_activity_at) > {days}",
            f"lead.last_activity_at.hour == $now.hour or lead.score > {score}",
            f'customer.first_purchase_at == null or $now > customer.first_purchase_at + t"P{days}D"',
        ]
    )


def computed_rule(chance: Chance) -> str:
    """What MongoDB cannot decide exactly, and Python does."""
    score, value_ = chance.integer(5, 95), chance.integer(1, 19) * 50
    return chance.choice(
        [
            f"lead.score / 7 > customer.lifetime_value % {score}",
            f"lead.amount + 0.2 == 0.3 or lead.score * 1.1 > {score}",
            f'contact.email =~~ "(an|na)+@" and lead.score > {score}',
            "$any([tag.length > 3 for tag in lead.tags])",
            f'$fuzzy(lead.name, "Anna") > {score}',
            'lead.status == "open" and $email_domain(contact.email) == "x.org"',
            'lead.created_at.weekday == "Monday"',
            f'$overlap(lead.tags, ["vip", "eu"]) > 0 and customer.lifetime_value > {value_}',
            f"$percentile(lead.score, 0, 100) > {score} and customer.churned != true",
            '$root_domain($email_domain(contact.email)) == "y.co.uk" or lead.tags.length > 2',
        ]
    )


def any_rule(chance: Chance) -> str:
    """One of every construct of the language, as the differential draws them."""
    return generation.rule(chance, depth=chance.random.choices((0, 1), (2, 1))[0])


def nested_rule(chance: Chance, cohorts: Sequence[str]) -> str:
    """What names other cohorts."""
    one, other, score = chance.choice(cohorts), chance.choice(cohorts), chance.integer(5, 95)
    country = chance.choice(COUNTRIES)
    return chance.choice(
        [
            f'$in_cohort("{one}") and lead.score > {score}',
            f'$in_cohort("{one}") or $in_cohort("{other}")',
            f'$in_cohort("{one}") and not $in_cohort("{other}")',
            f'not $in_cohort("{one}") and contact.country == "{country}"',
            f'lead.score > {score} or not ($in_cohort("{one}") and $in_cohort("{other}"))',
            f'$in_cohort("{one}") ? lead.score < {score} : contact.country == "{country}"',
        ]
    )


KINDS = {"plain": plain_rule, "time": timed_rule, "computed": computed_rule, "any": any_rule}
_WEIGHTS = (16, 3, 3, 2)
NESTED = 0.15  # of all rules


def registry_with(builtin: Registry) -> dict[str, FieldType]:
    """The fields that the project needs beside the built-in ones, by name."""
    return {name: kind for name, kind in REGISTRY.items() if name not in builtin}


def kind_of_rule(chance: Chance) -> str:
    return chance.random.choices(list(KINDS), _WEIGHTS)[0]

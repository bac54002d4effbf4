"""A believable workspace out of a seed: leads, contacts, customers and companies whose fields fit together.

Everything follows from one hidden story per person: since when they are known, how interested they are, what they
bought, when they were last heard of. So rules find what they would find in life: hot leads are active ones, large
customers have paid for long, churned ones are silent.
"""

import string
import unicodedata
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from random import Random
from typing import Any

from muster.records import demo_world as world
from muster.records.demo_world import Country

DEFAULT_PROFILES = 2_000
DEFAULT_SEED = 7

DAY = 1_440  # minutes: times are whole minutes before the anchor
OLDEST = 1_095  # days since the first lead
COMPANY_SHARE = 0.08

_MIDDLES = ("", "wood", "field", "ridge", "brook", "ford", "haven", "peak", "gate", "crest")
_COMPANIES = len(world.COMPANY_FIRST) * len(_MIDDLES) * len(world.COMPANY_SECOND)
_IN_ADDRESSES = frozenset(string.ascii_lowercase + "-")

Line = dict[str, Any]


def generate(profiles: int, seed: int = DEFAULT_SEED, anchor: date | None = None) -> Iterator[Line]:
    """The lines of an import, one per profile: the same ones for the same arguments.

    `anchor` is the day whose midnight (UTC) the workspace ends at; today when left out. A larger workspace begins with
    the smaller one of the same seed.
    """
    made = _Workspace(seed, anchor or datetime.now(UTC).date())
    for index in range(1, profiles + 1):
        yield made.company(index) if made.chance() < COMPANY_SHARE else made.somebody(index)


@dataclass(slots=True)
class _Story:
    """What happened to one person, in minutes before the anchor; `paid` in months."""

    age: int  # first seen, as a lead
    known: int  # given an address, as a contact
    silent: int
    interest: float
    plan: str | None
    churned: bool
    paid: int


class _Workspace:
    def __init__(self, seed: int, anchor: date) -> None:
        self.chance = Random(seed).random
        self.days = [(anchor - timedelta(days=days)).isoformat() for days in range(OLDEST + 2)]
        self.minutes = [f"T{minute // 60:02d}:{minute % 60:02d}:00Z" for minute in range(DAY)]
        adult, span = 20 * 365, 45 * 365  # days
        self.birthdays = [(anchor - timedelta(days=adult + days)).isoformat() for days in range(span)]
        self.shares = list(accumulate(country.weight for country in world.COUNTRIES))
        self.names = {country.code: _spelled(country) for country in world.COUNTRIES}

    def one_of(self, options: Sequence[Any]) -> Any:
        return options[int(self.chance() * len(options))]

    def moment(self, age: int) -> str:
        """The time so many minutes (1 and up) before the anchor."""
        days = (age - 1) // DAY + 1
        return self.days[days] + self.minutes[days * DAY - age]

    def somebody(self, index: int) -> Line:
        """A person: mostly a lead, mostly with a contact, some of them customers, a few known to Attio."""
        chance = self.chance
        story = self.story()
        country = world.COUNTRIES[bisect(self.shares, chance() * self.shares[-1])]
        givens, families = self.names[country.code]
        (given, latin), (family, latin_family) = self.one_of(givens), self.one_of(families)
        name, employer = f"{given} {family}", int(chance() * chance() * _COMPANIES)
        free_mail = chance() < 0.3
        domain = "post.example" if free_mail else f"{_slug(_company_name(employer)[0])}.example"
        email = f"{latin}.{latin_family}{index}@{domain}"
        line: Line = {"pii_id": f"P{index}"}
        has_contact = story.plan is not None or chance() < 0.88
        if not has_contact or chance() < 0.98:
            line["lead"] = self.lead(story, name)
        if has_contact:
            line["contact"] = self.contact(story, country, name, email)
        if story.plan is not None:
            line["customer"] = self.customer(story)
        if has_contact and not free_mail and chance() < 0.08:
            line["person"] = self.person(country, line["contact"], name, email, _company_name(employer)[0])
        return line

    def story(self) -> _Story:
        """Interest decides who buys; age, how much; both, who is still heard of."""
        chance = self.chance
        age = 1 + int(OLDEST * DAY * chance() ** 1.6)
        known = max(1, age - int(3 * DAY * chance()))
        interest = (chance() + chance()) / 2
        plan, churned, paid = None, False, 0
        if chance() < 0.05 + 0.5 * interest * min(1.0, age / (10 * DAY)):
            if chance() < (0.6 if age < 40 * DAY else 0.08):
                plan = "trial"
            else:
                size = chance() * (0.6 + 0.6 * interest)
                plan = "starter" if size < 0.5 else "pro" if size < 0.85 else "enterprise"
                paid = 1 + int((age / DAY / 30) * (0.5 + 0.5 * chance()))
                churned = chance() < 0.22 - 0.15 * interest
                paid = 1 + int(paid * 0.6 * chance()) if churned else paid
        typical = 200 if churned else 20 if plan else 15 + 160 * (1 - interest)  # days without a word
        silent = 1 + int(typical * DAY * (chance() + chance()) * chance() * 2)
        return _Story(age, known, min(silent, max(1, age - 10)), interest, plan, churned, paid)

    def lead(self, story: _Story, name: str) -> Line:
        chance = self.chance
        fresh = max(0.0, 1 - story.silent / (60 * DAY))
        score = 100 * (0.6 * story.interest + 0.3 * fresh + 0.15 * chance()) + (5 if story.plan else 0)
        status, stage = self.standing(story)
        line: Line = {"name": name, "status": status, "stage": stage}
        line["source"] = self.one_of(("website", "website", "referral", "event", "outbound", "partner", "ads"))
        if chance() < 0.97:
            line["score"] = min(100, round(score))
        if chance() < 0.55:
            line["tags"] = sorted({self.one_of(world.LEAD_TAGS) for _ in range(1 + int(2.5 * chance()))})
        line["created_at"] = self.moment(story.age)
        if story.age > 10 and chance() < 0.97:
            line["last_activity_at"] = self.moment(story.silent)
        return line

    def standing(self, story: _Story) -> tuple[str, str]:
        """The status and stage of a lead."""
        if story.plan == "trial":
            return "trial", "evaluation"
        if story.plan is not None:
            return "won", "customer"
        if story.age < 10 * DAY:
            return "new", "awareness"
        if story.silent > 120 * DAY and self.chance() < 0.7:
            return "lost", "closed"
        if story.interest > 0.6:
            return "qualified", self.one_of(("evaluation", "decision"))
        return "working", self.one_of(("awareness", "consideration"))

    def contact(self, story: _Story, country: Country, name: str, email: str) -> Line:
        chance = self.chance
        city, _, language = self.one_of(country.cities)
        line: Line = {"name": name, "country": country.code, "language": language}
        if chance() < 0.97:
            line["email"] = email
        if chance() < 0.92:
            line["city"] = city
        if chance() < 0.7:
            line["phone"] = f"{country.phone}{int(10_000 * chance()):04d}"
        if chance() < 0.85:
            line["job_title"] = self.one_of(world.JOB_TITLES)
        if chance() < 0.95:
            line["opted_in"] = chance() < 0.45 + 0.4 * story.interest
        if chance() < 0.4:
            line["birth_date"] = self.one_of(self.birthdays)
        line["created_at"] = self.moment(story.known)
        return line

    def customer(self, story: _Story) -> Line:
        chance = self.chance
        if story.plan == "trial":
            line: Line = {"plan": "trial", "status": "trialing", "mrr": 0, "lifetime_value": 0, "orders_count": 0}
            return {**line, "churned": False}
        low, high = {"starter": (19, 79), "pro": (129, 399), "enterprise": (900, 4_000)}[str(story.plan)]
        monthly = round(low + (high - low) * chance())
        first = max(1, min(story.known, story.paid * 30 * DAY + int(20 * DAY * chance())))
        last = max(1, first - (story.paid - 1) * 30 * DAY) if story.churned else 1 + int(30 * DAY * chance())
        orders = story.paid + int(story.paid * chance() * story.interest)
        return {
            "plan": story.plan,
            "status": "cancelled" if story.churned else "past_due" if chance() < 0.04 else "active",
            "mrr": 0 if story.churned else monthly,
            "lifetime_value": round(monthly * (story.paid + 0.2 * (orders - story.paid)), 2),
            "orders_count": orders,
            "churned": story.churned,
            **({"tags": sorted({self.one_of(world.CUSTOMER_TAGS) for _ in range(2)})} if chance() < 0.4 else {}),
            "first_purchase_at": self.moment(first),
            "last_purchase_at": self.moment(min(first, last)),
        }

    def person(self, country: Country, contact: Line, name: str, email: str, employer: str) -> Line:
        """The same person as Attio would have it."""
        places = {city: region for city, region, _ in country.cities}
        line: Line = {"name": name, "email": email, "emails": [email], "country": country.code}
        line["company_name"] = employer
        if "city" in contact:
            line |= {"city": contact["city"], "region": places[contact["city"]]}
        return line | {field: contact[field] for field in ("job_title", "phone") if field in contact}

    def company(self, index: int) -> Line:
        """A company of its own, as Attio would have it: no lead, no contact."""
        chance = self.chance
        country = world.COUNTRIES[bisect(self.shares, chance() * self.shares[-1])]
        city, region, _ = self.one_of(country.cities)
        name, category = _company_name(int(chance() * _COMPANIES))
        employees, revenue = world.EMPLOYEE_RANGES[int(chance() * chance() * len(world.EMPLOYEE_RANGES))]
        founded = self.days[0][:4]
        line: Line = {
            "name": name,
            "description": f"{category} company in {city}.",
            "employee_range": employees,
            "estimated_arr_usd": revenue,
            "city": city,
            "region": region,
            "country": country.code,
            "domains": [f"{_slug(name)}.example"],
            "categories": [category] if chance() < 0.8 else [category, "SaaS"],
            "founded_on": f"{int(founded) - 2 - int(30 * chance() * chance())}-{1 + int(12 * chance()):02d}-01",
        }
        if chance() < 0.45:
            line["funding_raised_usd"] = 50_000 * int(10 ** (1 + 2 * chance()))
        return {"pii_id": f"C{index}", "company": line}


def _company_name(number: int) -> tuple[str, str]:
    """A company's name and category; low numbers are the better known ones."""
    number, second = divmod(number, len(world.COMPANY_SECOND))
    first, middle = divmod(number, len(_MIDDLES))
    name, category = world.COMPANY_SECOND[second]
    return f"{world.COMPANY_FIRST[first]}{_MIDDLES[middle]} {name}", category


def _spelled(country: Country) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The given and family names of a country, each with its form in an e-mail address."""
    return [_both(name) for name in country.given], [_both(name) for name in country.family]


def _both(name: str) -> tuple[str, str]:
    native, _, latin = name.partition("|")
    return native, _slug(latin or native)


def _slug(name: str) -> str:
    """Lower-case ASCII letters: "François" is "francois", "Amber Labs" is "amber-labs"."""
    spelled = name.lower().replace("ß", "ss").replace(" ", "-")
    letters = unicodedata.normalize("NFKD", spelled)
    return "".join(letter for letter in letters if letter in _IN_ADDRESSES)

"""Made-up companies and people, in the shape in which Attio sends them, awkward names among them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

Raw = dict[str, Any]

FIRST_DAY = datetime(2025, 1, 6, 9, tzinfo=UTC)
APART = timedelta(minutes=37)

# The first records of each kind are called so: what nobody thinks of, and every workspace has.
AWKWARD: Sequence[str | None] = (
    *(None, "", "🦊🚀", "شركة الأمل للتجارة", "x" * 300, "..", ".GIT", "CON", "aux.json", "a/b\\c:d"),
    *("=HYPERLINK(1)", "Twin", "Twin", "twin", "O'Neil & Söhne, Inc.", "<b>bold</b>", "  spaces  ", "line\nbreak"),
)
FIRST_NAMES = ("Ada", "Ben", "Chen", "Dina", "Emeka", "Fatima", "Goran", "Hana", "Ivo", "Jada", "Kofi", "Lena", "Mira")
LAST_NAMES = ("Abara", "Berg", "Costa", "Dubois", "Endo", "Fischer", "Gupta", "Haddad", "Ito", "Jansen", "Khan")
FIRST_WORDS = ("Blue", "North", "Quiet", "Red", "Green", "Swift", "Open", "Bright", "Old", "Iron", "Silver")
SECOND_WORDS = ("Harbor", "Foundry", "Orchard", "Bridge", "Signal", "Garden", "Lantern", "River", "Summit")
ENDINGS = ("Labs", "Works", "Group", "Systems", "Foods", "Health", "Logistics")
CATEGORIES = ("Software", "Retail", "Health", "Energy", "Finance", "Education")
RANGES = ("1-10", "11-50", "51-250", "251-1K", "1K-5K")
REVENUES = ("$0-$1M", "$1M-$10M", "$10M-$50M", "$50M-$100M", "$10B+")
PLACES = (
    ("Lyon", "Auvergne-Rhône-Alpes", "FR", "45.7640", "4.8357"),
    ("Austin", "Texas", "US", "30.2672", "-97.7431"),
    ("Nairobi", None, "KE", "-1.2921", "36.8219"),
    ("القاهرة", None, "EG", "30.0444", "31.2357"),
    ("Osaka", "Osaka", "JP", "34.6937", "135.5023"),
)
TITLES = ("Engineer", "Head of Sales", "Founder", "Designer", "Analyst", "Chief Financial Officer")
PERSONAS = ("Builder", "Buyer", "Skeptic")
INTERESTS = ("Pricing", "API", "Mobile", "Reports")
STRENGTHS = ("Very weak", "Weak", "Good", "Strong", "Very strong")
TIERS = ("Gold", "Silver", "Bronze")
STAGES = ("Invited", "Trying", "Happy", "Gone")
SYSTEM = {"type": "system", "id": None}


def stamp(moment: datetime) -> str:
    """A time as Attio writes it: nine digits, Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06d}000Z"


@dataclass(frozen=True)
class Maker:
    """Makes the records of a workspace by their number."""

    workspace_id: str
    object_ids: dict[str, str]
    companies: int
    people: int

    def record_id(self, slug: str, number: int) -> str:
        """The id of a record."""
        return str(uuid5(NAMESPACE_URL, f"{self.workspace_id}/{slug}/{number}"))

    def company(self, number: int) -> Raw:
        """A company."""
        name = _awkward(number, _company_name(number))
        domain = f"{_company_name(number).lower().replace(' ', '-')}-{number}.example"
        values = {
            "name": [] if name is None else [{"value": name, "attribute_type": "text"}],
            "domains": [{"domain": domain, "root_domain": domain, "attribute_type": "domain"}] if number % 17 else [],
            "description": [{"value": f"Made up, number {number}.", "attribute_type": "text"}] if number % 3 else [],
            "categories": [_option("categories", title) for title in _some(CATEGORIES, number)],
            "primary_location": _location(number),
            "employee_range": [_option("employee_range", RANGES[number % len(RANGES)])] if number % 4 else [],
            "estimated_arr_usd": [_option("estimated_arr_usd", REVENUES[number % len(REVENUES)])],
            "funding_raised_usd": _money((number * 7919) % 90_000_000) if number % 5 == 0 else [],
            "foundation_date": [{"value": f"{1950 + number % 70}-0{1 + number % 9}-15", "attribute_type": "date"}],
            "team": [self._reference("people", number)] if self.people else [],
            "tier": [_option("tier", TIERS[number % 3])],
            "seats": [{"value": number % 200, "attribute_type": "number"}],
            "is_partner": [{"value": number % 6 == 0, "attribute_type": "checkbox"}],
            "renewal_on": [{"value": f"2026-{1 + number % 12:02d}-01", "attribute_type": "date"}] if number % 2 else [],
            "satisfaction": [{"value": number % 6, "attribute_type": "rating"}],
            "account_owner": [
                {
                    "referenced_actor_type": "workspace-member",
                    "referenced_actor_id": str(uuid5(NAMESPACE_URL, f"member/{number % 3}")),
                    "attribute_type": "actor-reference",
                }
            ],
        }
        return self._record("companies", "company", number, values)

    def person(self, number: int) -> Raw:
        """A person."""
        first, last = FIRST_NAMES[number % len(FIRST_NAMES)], LAST_NAMES[number // 3 % len(LAST_NAMES)]
        name = _awkward(number, f"{first} {last}")
        parts = (first, last) if name == f"{first} {last}" else (name or "", "")
        full = {"first_name": parts[0], "last_name": parts[1], "full_name": name, "attribute_type": "personal-name"}
        values = {
            "name": [] if name is None else [full],
            "email_addresses": _emails(f"{first}.{last}".lower(), number),
            "description": [{"value": f"Made up, number {number}.", "attribute_type": "text"}] if number % 3 else [],
            "company": [self._reference("companies", number)] if self.companies and number % 5 else [],
            "job_title": [{"value": TITLES[number % len(TITLES)], "attribute_type": "text"}] if number % 7 else [],
            "phone_numbers": _phone(number) if number % 4 == 0 else [],
            "primary_location": _location(number),
            "linkedin": [],
            "last_interaction": _interaction(number) if number % 9 == 0 else [],
            "strongest_connection_strength": [
                _option("strongest_connection_strength", STRENGTHS[number % len(STRENGTHS)])
            ],
            "beta_tester": [{"value": number % 8 == 0, "attribute_type": "checkbox"}],
            "nps": [{"value": number % 11, "attribute_type": "number"}] if number % 2 else [],
            "persona": [_option("persona", PERSONAS[number % 3])],
            "interests": [_option("interests", title) for title in _some(INTERESTS, number)],
            "last_seen_at": [
                {"value": stamp(FIRST_DAY + timedelta(hours=number % 5_000)), "attribute_type": "timestamp"}
            ],
        }
        return self._record("people", "person", number, values)

    def entries_of(self, found: Raw) -> Callable[[int], Raw]:
        """What makes the entries of a list. Every tenth one is about the record of the entry before it."""
        parent = found["parent_object"][0]
        count = self.people if parent == "people" else self.companies
        step = 4 if parent == "people" else 3

        def entry(number: int) -> Raw:
            about = (number - 1 if number % 10 == 9 else number) * step % max(count, 1)
            values = {
                "stage": [
                    {
                        "status": {
                            "id": {"status_id": str(uuid5(NAMESPACE_URL, f"stage/{number % 4}"))},
                            "title": STAGES[number % 4],
                            "is_archived": False,
                        },
                        "attribute_type": "status",
                    }
                ],
                "amount": _money(number * 250 % 40_000) if number % 2 else [],
                "note": [{"value": f"Note {number}", "attribute_type": "text"}] if number % 3 == 0 else [],
                "next_step_on": [{"value": f"2026-0{1 + number % 9}-20", "attribute_type": "date"}],
            }
            return {
                "id": {**found["id"], "entry_id": str(uuid5(NAMESPACE_URL, f"{found['id']['list_id']}/{number}"))},
                "parent_record_id": self.record_id(parent, about),
                # Attio says either.
                "parent_object": parent if number % 2 else self.object_ids[parent],
                "created_at": _created_at(number),
                "entry_values": _stamped(values, number),
            }

        return entry

    def _record(self, slug: str, kind: str, number: int, values: dict[str, list[Raw]]) -> Raw:
        record_id = self.record_id(slug, number)
        return {
            "id": {
                "workspace_id": self.workspace_id,
                "object_id": self.object_ids[slug],
                "record_id": record_id,
            },
            "created_at": _created_at(number),
            "web_url": f"https://sandbox.example/{kind}/{record_id}",
            "values": _stamped(values, number),
        }

    def _reference(self, slug: str, number: int) -> Raw:
        count = self.companies if slug == "companies" else self.people
        target = self.record_id(slug, number * 7 % count)
        return {"target_object": slug, "target_record_id": target, "attribute_type": "record-reference"}


def _awkward(number: int, otherwise: str) -> str | None:
    """The first records have names that are hard to bear, then every fiftieth the same one."""
    if number < len(AWKWARD):
        return AWKWARD[number]
    return "Acme" if number % 50 == 0 else otherwise


def _company_name(number: int) -> str:
    first = FIRST_WORDS[number % len(FIRST_WORDS)]
    second = SECOND_WORDS[number // 2 % len(SECOND_WORDS)]
    return f"{first} {second} {ENDINGS[number // 5 % len(ENDINGS)]}"


def _created_at(number: int) -> str:
    """Later records are younger; three at a time came in the same moment, as imports do."""
    return stamp(FIRST_DAY + APART * (number // 3))


def _stamped(values: dict[str, list[Raw]], number: int) -> dict[str, list[Raw]]:
    since = {"active_from": _created_at(number), "active_until": None, "created_by_actor": SYSTEM}
    return {slug: [{**since, **value} for value in listed] for slug, listed in values.items()}


def _option(slug: str, title: str) -> Raw:
    option_id = str(uuid5(NAMESPACE_URL, f"{slug}/{title}"))
    option = {"id": {"option_id": option_id}, "title": title, "is_archived": False}
    return {"option": option, "attribute_type": "select"}


def _some(titles: Sequence[str], number: int) -> Sequence[str]:
    return [title for place, title in enumerate(titles) if (number >> place) & 1][:3]


def _money(amount: int) -> list[Raw]:
    # A string has been seen in the wild.
    value: Any = f"{amount}.00" if amount % 20 == 0 else amount
    return [{"currency_value": value, "currency_code": "USD", "attribute_type": "currency"}]


def _location(number: int) -> list[Raw]:
    if number % 6 == 5:
        return []
    city, region, country, latitude, longitude = PLACES[number % len(PLACES)]
    lines = {f"line_{place}": None for place in (1, 2, 3, 4)}
    place = {"locality": city, "region": region, "postcode": None, "country_code": country}
    return [{**lines, **place, "latitude": latitude, "longitude": longitude, "attribute_type": "location"}]


def _emails(local: str, number: int) -> list[Raw]:
    """None for some; two for some; every fortieth shares one with its neighbour, in capitals."""
    if number % 13 == 0:
        return []
    shared = number - 1 if number % 40 == 2 else number
    address = f"{local}.{number}@people.example" if shared == number else f"Shared.{shared}@People.example"
    if number % 40 == 1:
        address = f"shared.{number}@people.example"
    addresses = [address, f"second.{number}@people.example"] if number % 10 == 4 else [address]
    return [
        {
            "original_email_address": each,
            "email_address": each.lower(),
            "email_domain": "people.example",
            "email_root_domain": "people.example",
            "email_local_specifier": each.lower().partition("@")[0],
            "attribute_type": "email-address",
        }
        for each in addresses
    ]


def _phone(number: int) -> list[Raw]:
    digits = f"+1555{number % 10_000_000:07d}"
    return [
        {
            "original_phone_number": digits,
            "country_code": "US",
            "phone_number": digits,
            "attribute_type": "phone-number",
        }
    ]


def _interaction(number: int) -> list[Raw]:
    return [
        {
            "interaction_type": "email",
            "interacted_at": stamp(FIRST_DAY + timedelta(days=number % 300)),
            "owner_actor": {"type": "workspace-member", "id": str(uuid5(NAMESPACE_URL, f"member/{number % 3}"))},
            "attribute_type": "interaction",
        }
    ]

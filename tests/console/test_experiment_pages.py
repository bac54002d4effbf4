"""Experiments in the console: forms over the API's own schema, runs, results arm by arm."""

import html
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from muster.experiments import assignment
from muster.jobs.documents import Job
from muster.resources import Resources
from muster.sandbox.modal import Modal
from tests.console.conftest import form_token, sign_in
from tests.console.test_cohort_pages import notice, send
from tests.console.worlds import HOSTILE, build
from tests.experiments.conftest import Lab, open_lab


async def people(client: httpx.AsyncClient, count: int = 12) -> str:
    """A cohort of so many leads."""
    for place in range(count):
        await client.put(f"/v1/leads/L{place:02}", json={"score": 80, "name": f"Lead {place}"})
    made = await client.post("/v1/cohorts", json={"name": "Best leads", "kind": "dynamic", "rule": "lead.score > 50"})
    return str(made.json()["id"])


FORM: dict[str, Any] = {"name": "Offer", "source": "cohort", "do": "save"}


async def test_an_experiment_is_made_and_changed(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """What the form has fields for and what it does not know both become its configuration, and come back."""
    cohort = await people(client)
    page = (await ada.get("/experiments/new", params={"cohort": cohort})).text
    assert re.findall(r"<li><bdi>(Lead \d+)</bdi>", page) == [f"Lead {place}" for place in range(5)]
    typed = {
        **FORM,
        "cohort": cohort,
        "arm_name": ["A", "", "B"],
        "arm_weight": ["1", "", "2.5"],
        "sample": "10",
        "holdout": "12.5",
        "seed": "s1",
        "rest": '{"question": "Why?", "personas": {"fields": ["lead.score"]}, "dispatch": {"timeoutHours": 2}}',
    }
    made = await send(ada, "/experiments/new", "/experiments/new", **typed)
    assert made.status_code == 303, made.text
    stored = (await client.get(f"/v1{made.headers['location']}")).json()
    arms = [{"name": "A", "weight": 1.0}, {"name": "B", "weight": 2.5}]
    assert stored["config"] == {
        "question": "Why?",
        "dispatch": {"timeoutHours": 2},
        "personas": {"fields": ["lead.score"], "sample": 10, "holdout": 0.125, "seed": "s1", "arms": arms},
    }
    edit = f"{made.headers['location']}/edit"
    shown = (await ada.get(edit)).text
    again = {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)"[^>]*value="([^"]*)"', shown)}
    rest = html.unescape(re.findall(r'<textarea id="rest"[^>]*>\n(.*?)</textarea>', shown, re.DOTALL)[0])
    assert (again["sample"], again["holdout"], again["seed"]) == ("10", "12.5", "s1")
    assert json.loads(rest) == json.loads(typed["rest"])
    assert "Saved" in await notice(ada, await send(ada, edit, edit, **{**typed, "rest": rest, "name": "Other"}))
    after = (await client.get(f"/v1{made.headers['location']}")).json()
    assert (after["name"], after["config"]) == ("Other", stored["config"])


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"cohort": ""}, "cohort_id"),
        ({"sample": "-3"}, "sample"),
        ({"holdout": "100"}, "holdout"),
        ({"arm_name": ["A", "A"], "arm_weight": ["1", "1"]}, "arms"),
        ({"arm_name": [HOSTILE], "arm_weight": ["1"]}, "arms"),
        ({"rest": '{"question": }'}, "rest"),
        ({"rest": "[" * 100_000}, "rest"),
        ({"rest": '{"personas": 1}'}, "rest"),
        ({"source": "made-up", "count": "many"}, "count"),
    ],
)
async def test_what_is_wrong_stands_at_its_field(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, wrong: dict[str, Any], field: str
) -> None:
    cohort = await people(client, 1)
    typed = {**FORM, "cohort": cohort, "description": "kept as typed", **wrong}
    if len(str(wrong)) > 20_000:
        typed["rest"] = "[" * 15_000
    refused = await send(ada, "/experiments/new", "/experiments/new", **typed)
    assert refused.status_code == 422, refused.text
    assert f'id="{field}-problem"' in refused.text
    assert "kept as typed" in refused.text
    assert "<img src=x" not in refused.text
    assert (await client.get("/v1/experiments")).json()["items"] == []


async def test_whoever_took_part_before_is_kept(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """Profiles chosen by hand, or cohorts as arms, are more than the form can say; it leaves them as they are."""
    await people(client, 3)
    body = {"name": "By hand", "members": ["L00", "L02"]}
    made = (await client.post("/v1/experiments", json=body)).json()["id"]
    edit = f"/experiments/{made}/edit"
    assert "2 profiles chosen by hand" in (await ada.get(edit)).text
    assert "Saved" in await notice(ada, await send(ada, edit, edit, **{**FORM, "source": "kept", "name": "Same"}))
    stored = (await client.get(f"/v1/experiments/{made}")).json()
    assert (stored["name"], stored["member_count"]) == ("Same", 2)


async def test_an_edit_of_what_somebody_else_changed_is_refused(
    ada: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    cohort = await people(client, 1)
    made = (await client.post("/v1/experiments", json={"name": "Offer", "cohort_id": cohort})).json()["id"]
    await client.patch(f"/v1/experiments/{made}", json={"name": "Changed"})
    edit = f"/experiments/{made}/edit"
    stale = await send(ada, edit, edit, **{**FORM, "cohort": cohort, "rev": "1", "name": "Mine"})
    assert stale.status_code == 412
    assert 'value="Mine"' in stale.text
    assert (await client.get(f"/v1/experiments/{made}")).json()["name"] == "Changed"


async def test_without_a_place_to_send_it_nothing_runs(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    cohort = await people(client, 1)
    made = (await client.post("/v1/experiments", json={"name": "Offer", "cohort_id": cohort})).json()["id"]
    page = (await ada.get(f"/experiments/{made}")).text
    assert "MUSTER_MODAL_URL is not set" in page
    assert re.search(r'<button class="main" disabled>', page)
    assert "MUSTER_MODAL_URL" in await notice(ada, await send(ada, f"/experiments/{made}", f"/experiments/{made}/run"))
    deleted = await send(ada, f"/experiments/{made}", f"/experiments/{made}/delete")
    assert "is deleted" in await notice(ada, deleted)
    assert (await client.get(f"/v1/experiments/{made}")).status_code == 404


@pytest.fixture
async def lab(clean: Resources, token_for: Any) -> AsyncIterator[Lab]:
    """An application whose Modal is the stand-in."""
    modal = Modal(per_second=100_000)
    async with open_lab(clean, token_for("ada"), modal) as opened:
        yield opened
    modal.stop()


async def test_one_cohort_is_given_to_many_experiments(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are chosen run over it from now on; what is refused is told with its reason; very many by a job."""
    cohort = await people(client)
    here = f"/cohorts/{cohort}/experiments"
    assert "No experiments yet" in (await ada.get(here)).text
    made = [(await client.post("/v1/experiments", json={"name": f"E{place}"})).json()["id"] for place in range(4)]
    assert await notice(ada, await send(ada, here, here)) == "No experiment was chosen."
    given = await notice(ada, await send(ada, here, here, experiment=[made[0], made[2]]))
    assert given == "2 experiments ask its members now."
    listed = (await client.get("/v1/experiments", params={"cohort_id": cohort})).json()["items"]
    assert [each["id"] for each in listed] == [made[0], made[2]]
    page = (await ada.get(here)).text
    boxes = re.findall(r'name="experiment" value="([^"]*)"[^>]*?(checked disabled)?>', page)
    assert boxes == [(each, "checked disabled" if each in {made[0], made[2]} else "") for each in made]
    assert f'href="{here}"' in (await ada.get(f"/cohorts/{cohort}")).text

    refused = await notice(ada, await send(ada, here, here, experiment=[made[1], "EXP-99"]))
    assert refused == f"1 experiment was not changed. EXP-99: {missing(await client.get('/v1/experiments/EXP-99'))}"
    assert (await client.get(f"/v1/experiments/{made[1]}")).json()["cohort_id"] == cohort
    monkeypatch.setattr(assignment, "FROM_A_JOB", 2)
    by_job = await send(ada, here, here, experiment=made)
    assert re.fullmatch(r"/jobs/EAJ-\d+", by_job.headers["location"])


def missing(answer: httpx.Response) -> str:
    assert answer.status_code == 404
    return str(answer.json()["detail"])


async def test_a_run_comes_back_arm_by_arm(lab: Lab) -> None:
    """From the button to the charts; their numbers are those of an independent count over all results."""
    await lab.people(60)
    cohort = await lab.cohort()
    async with httpx.AsyncClient(transport=lab.http._transport, base_url="http://m.test") as ada:
        await sign_in(ada, "ada")
        typed = {**FORM, "cohort": cohort, "arm_name": ["A", "B"], "arm_weight": ["1", "1"], "seed": "s"}
        made = (await send(ada, "/experiments/new", "/experiments/new", **typed)).headers["location"]
        there = (await send(ada, made, f"{made}/run")).headers["location"]
        assert "waits" in (await ada.get(there)).text
        (run,) = (await lab.http.get(f"/v1{made}/runs")).json()["items"]
        job: Job = await lab.work(run["job_id"])
        assert job.state == "succeeded", job.error
        page = (await ada.get(there)).text
        assert "60 personas" in page
        assert there in (await ada.get("/experiments")).text
        rows = (await lab.http.get(f"/v1{there}/results", params={"limit": 1000})).json()["items"]
        interest = defaultdict(list)
        for row in rows:
            interest[row["arm"]].append(row["result"]["interest"])
        summary = (await ada.get(f"{there}/summary")).text
        chart = summary[
            summary.index("<bdi>interest</bdi>") : summary.index("</section>", summary.index("<bdi>interest"))
        ]
        shown = dict(re.findall(r"<bdi>(\w)</bdi></th>.*?<strong>([\d.]+)</strong>", chart, re.DOTALL))
        assert {arm: float(mean) for arm, mean in shown.items()} == {
            arm: round(sum(found) / len(found), 2) for arm, found in interest.items()
        }
        assert set(shown) == {"A", "B"}
        only = (await ada.get(there, params={"arm": "A"})).text
        assert only.count('<td class="result">') == min(50, len(interest["A"]))
        file = (await ada.get(f"{there}/export")).text
        assert file.count("\r\n") == 61


async def test_nothing_of_another_owner_is_run(visitor: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    world = await build(client)
    here = f"/experiments/{world['experiment']}"
    await sign_in(visitor, "eve")
    for page in (here, f"{here}/edit", f"{here}/runs/{world['run']}", f"{here}/runs/{world['run']}/export"):
        assert (await visitor.get(page)).status_code == 404, page
    token = {"form_token": form_token((await visitor.get("/")).text), "rev": "1"}
    for action in ("run", "edit", "delete"):
        assert (await visitor.post(f"{here}/{action}", data=token)).status_code == 404, action
    of_cohort = f"/cohorts/{world['dynamic']}/experiments"
    assert (await visitor.get(of_cohort)).status_code == 404
    assert (await visitor.post(of_cohort, data={**token, "experiment": world["experiment"]})).status_code == 404
    refused = await visitor.post("/experiments/new", data={**FORM, **token, "cohort": world["dynamic"]})
    assert refused.status_code == 422

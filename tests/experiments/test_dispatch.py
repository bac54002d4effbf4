"""Everything that the other side may answer, one at a time: what is repeated, what ends a run, where secrets go."""

import asyncio
import base64
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook as Signer

from muster.experiments import runs, wire
from muster.experiments.callbacks import KEY_FILE
from muster.experiments.documents import ExperimentRun
from muster.jobs.documents import Job
from muster.resources import Resources
from tests.experiments.conftest import KEY, SECRET, Lab
from tests.experiments.endpoint import DROP, HANG, Answer, Asked, Endpoint, Said, answering

RESULTS = [{"n": number} for number in range(3)]
FINISHED = Said(200, {"status": "completed", "results": RESULTS})
ACCEPTED = Said(200, {"call_id": "fc-1"})
PENDING = Said(202, {})


def script(posts: list[Answer], gets: list[Answer]) -> Callable[[Asked], Answer]:
    """Answer with these in turn; the last of each goes on for ever."""
    waiting: dict[str, Iterator[Answer]] = {"POST": iter(posts), "GET": iter(gets)}
    last: dict[str, Answer] = {"POST": posts[-1], "GET": gets[-1] if gets else FINISHED}
    return lambda asked: next(waiting[asked.method], last[asked.method])


async def run_against(lab: Lab, endpoint: Endpoint, **more: Any) -> tuple[Job, dict[str, Any]]:
    """A run over three people, sent to an endpoint in place of the stand-in."""
    settings = lab.settings.model_copy(update={"modal_url": endpoint.url, **more})
    await lab.people(3)
    experiment = await lab.experiment(members=["P0000", "P0001", "P0002"])
    started = await lab.start(experiment)
    job = await lab.work(started["job_id"], settings)
    return job, await lab.run(experiment, started["run_id"])


GOES_WELL: dict[str, tuple[list[Answer], list[Answer], int]] = {
    "as it should": ([ACCEPTED], [PENDING, PENDING, FINISHED], 1),
    "the results at once": ([FINISHED], [], 1),
    "303 to the results": ([Said(303, None, {"Location": "/later?id=1"})], [PENDING, FINISHED], 1),
    "303 that goes on": (
        [Said(303, None, {"Location": "/later"})],
        [*[Said(303, None, {"Location": "/later"})] * 12, FINISHED],
        1,
    ),
    "303 to the call id": ([Said(303, None, {"Location": "/later"})], [ACCEPTED, PENDING, FINISHED], 1),
    "accepted, then dropped": ([DROP, ACCEPTED], [FINISHED], 2),
    "cut off": ([Said(200, {"call_id": "fc-1"}, whole=False), ACCEPTED], [FINISHED], 2),
    "no JSON": ([Said(200, b"<html>"), ACCEPTED], [Said(200, b"<html>"), FINISHED], 2),
    "too many requests": ([Said(429, None, {"Retry-After": "0"}), ACCEPTED], [Said(429), FINISHED], 2),
    "broken for a while": ([Said(500), Said(502), Said(503), Said(504), ACCEPTED], [Said(500), DROP, FINISHED], 5),
    "no answer in time": ([HANG, ACCEPTED], [HANG, FINISHED], 2),
    "not known yet": ([ACCEPTED], [Said(404), Said(404), PENDING, FINISHED], 1),
    "results cut off": ([ACCEPTED], [Said(200, {"results": RESULTS}, whole=False), FINISHED], 1),
    "a status of its own": ([ACCEPTED], [Said(200, {"status": "running"}), FINISHED], 1),
    "progress": ([ACCEPTED], [Said(202, {"progress": {"done": 2, "total": 3}}), FINISHED], 1),
}


async def test_whatever_happens_in_between_the_results_come(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a repeat carries the same run id."""
    monkeypatch.setattr(wire, "ANSWER_WITHIN", 0.1)
    for name, (posts, gets, sent) in GOES_WELL.items():
        async with answering(script(posts, gets)) as endpoint:
            job, run = await run_against(lab, endpoint)
        assert (job.state, job.error) == ("succeeded", None), name
        assert [result["result"] for result in await lab.results(run)] == RESULTS, name
        bodies = [asked.json for asked in endpoint.asked if asked.method == "POST"]
        assert len(bodies) == sent, name
        assert (bodies[0]["run_id"], bodies[0]["experiment_id"]) == (run["run_id"], run["experiment_id"])
        assert all(body == bodies[0] for body in bodies)
        assert bodies[0]["personas"]["count"] == 3
        keys = {(one.headers.get("modal-key"), one.headers.get("modal-secret")) for one in endpoint.asked}
        assert keys == {(KEY, SECRET)}


ENDS: dict[str, tuple[list[Answer], list[Answer], str]] = {
    "wrong key": ([Said(401, {"error": "no"})], [], "refuses the credentials (401)"),
    "wrong key later": ([ACCEPTED], [Said(401)], "refuses the credentials (401)"),
    "nothing there": ([Said(404)], [], "nothing at its address (404)"),
    "forgotten": ([ACCEPTED], [Said(404)], "does not know the call fc-1 (404)"),
    "another redirect": ([Said(302, None, {"Location": "/x"})], [], "only 303 is followed"),
    "refused": ([Said(422, {"error": "no such model"})], [], "no such model"),
    "says nothing": ([Said(200, {"ok": True})], [], "without `call_id`"),
    "failed there": ([ACCEPTED], [Said(200, {"status": "failed", "error": "out of tokens"})], "out of tokens"),
    "too few": ([ACCEPTED], [Said(200, {"status": "completed", "results": RESULTS[:2]})], "gives 2 results for 3"),
    "too many": ([ACCEPTED], [Said(200, {"status": "completed", "results": RESULTS * 2})], "gives 6 results for 3"),
    "no list": ([ACCEPTED], [Said(200, {"status": "completed", "results": {"a": 1}})], "no list"),
    "never": ([Said(503)], [], "the last of 3 tries"),
}


async def test_what_ends_a_run_says_why_and_can_be_tried_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """No half of the results is kept. Put right, another try of the same job brings them, under the same run id."""
    monkeypatch.setattr(runs, "MOST_TRIES", 3)
    for name, (posts, gets, reason) in ENDS.items():
        async with answering(script(posts, gets)) as endpoint:
            job, run = await run_against(lab, endpoint)
            assert (job.state, reason in (job.error or "")) == ("failed", True), f"{name}: {job.error}"
            assert (run["state"], run["result_count"], await lab.results(run)) == ("failed", 0, []), name
            endpoint.answer = script([ACCEPTED], [FINISHED])
            await lab.http.post(f"/v1/jobs/{job.id}/retry")
            again = await lab.work(job.id, lab.settings.model_copy(update={"modal_url": endpoint.url}))
            assert again.state == "succeeded", name
            assert {asked.json["run_id"] for asked in endpoint.asked if asked.method == "POST"} == {run["run_id"]}
        assert [result["result"] for result in await lab.results(run)] == RESULTS


async def test_the_call_id_is_on_record_before_anybody_polls(lab: Lab) -> None:
    """So that a worker that dies in between leaves it to the next one."""
    seen: list[str | None] = []

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            return Said(200, {"call_id": "fc-9"})
        looking = asyncio.ensure_future(ExperimentRun.find_one({}))
        looking.add_done_callback(lambda task: seen.append(task.result().parts[0].call_id))
        return PENDING if len(seen) < 2 else FINISHED

    async with answering(answer) as endpoint:
        job, _ = await run_against(lab, endpoint)
    assert job.state == "succeeded"
    assert seen
    assert set(seen) == {"fc-9"}


async def test_no_secret_follows_a_redirect_to_another_host(lab: Lab) -> None:
    """Of a POST or of a GET, to another host, port or scheme: nobody is asked there."""
    async with answering(lambda _: FINISHED) as elsewhere:
        places = [f"{elsewhere.url}/steal", f"http://localhost:{elsewhere.port}/", "https://127.0.0.1/x", "//[::1]:1/"]
        for place, code in [*((place, 303) for place in places), *((places[0], code) for code in (301, 302, 307, 308))]:
            away = Said(code, None, {"Location": place})
            for posts, gets in (([away], []), ([ACCEPTED], [away])):
                async with answering(script(list(posts), list(gets))) as endpoint:
                    job, _ = await run_against(lab, endpoint)
                assert job.state == "failed"
                assert "redirect" in (job.error or "") or "only 303" in (job.error or "")
        assert elsewhere.asked == []


async def test_a_redirect_within_the_host_is_followed_by_get_only(lab: Lab) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            return ACCEPTED
        return FINISHED if asked.path == "/moved" else Said(307, None, {"Location": "/moved"})

    async with answering(answer) as endpoint:
        job, _ = await run_against(lab, endpoint)
    assert job.state == "succeeded"
    assert [(asked.method, asked.path) for asked in endpoint.asked] == [
        ("POST", "/"),
        ("GET", "/result/fc-1"),
        ("GET", "/moved"),
    ]


async def test_secrets_are_nowhere_but_in_the_header_of_the_request(
    lab: Lab, clean: Resources, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A canary in key and secret, an other side that tells all it was sent, in errors and in results; and the run's own
    secret for callbacks.
    """
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(runs, "MOST_TRIES", 2)
    told: list[str] = []

    def tells_all(asked: Asked) -> Answer:
        told.extend(value for name, value in asked.headers.items() if name.endswith("secret"))
        echo = dict(asked.headers)
        if asked.method == "GET":
            return Said(200, {"status": "completed", "results": [echo, echo, echo]})
        replies = {1: Said(422, echo), 2: Said(500, echo), 3: Said(500, echo), 4: Said(401, echo)}
        return replies.get(endpoint.count("POST"), ACCEPTED)

    seen = []
    async with answering(tells_all) as endpoint:
        job, run = await run_against(lab, endpoint, public_url="https://muster.example")
        settings = lab.settings.model_copy(update={"modal_url": endpoint.url, "public_url": "https://muster.example"})
        while job.state == "failed":
            seen.append(job.error or "")
            await lab.http.post(f"/v1/jobs/{job.id}/retry")
            job = await lab.work(job.id, settings)
    assert len(seen) == 3
    names = await clean.database.list_collection_names()
    seen += [caplog.text, *[str(await clean.database[name].find().to_list(None)) for name in names]]
    seen += [str(await clean.redis.dump(key)) async for key in clean.redis.scan_iter()]
    seen += [file.read_text("latin-1") for file in lab.settings.data_path.rglob("*") if file.is_file()]
    path = f"/v1/experiments/{run['experiment_id']}/runs/{run['run_id']}"
    seen += [(await lab.http.get(f"{path}{more}")).text for more in ("", "/results", "/export", "/summary")]
    seen += [(await lab.http.get(f"/v1/jobs/{job.id}")).text]
    assert len(await lab.results(run)) == 3
    callback = next(secret for secret in told if secret.startswith("whsec_"))
    for canary in (KEY, SECRET, callback, callback.removeprefix("whsec_")):
        assert not any(canary in text for text in seen), canary
    assert (lab.settings.data_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


async def test_a_webhook_gets_no_key_of_modal_and_may_not_be_private(lab: Lab) -> None:
    async with answering(script([ACCEPTED], [FINISHED])) as endpoint:
        await lab.people(3)
        config = {"dispatch": {"backend": "webhook", "url": f"{endpoint.url}/hook?token=1"}}
        experiment = await lab.experiment(cohort_id=await lab.cohort(), config=config)
        run = await lab.ran(experiment)
        assert [asked.path for asked in endpoint.asked] == ["/hook?token=1", "/hook/result/fc-1?token=1"]
        assert not any("modal-key" in asked.headers or "modal-secret" in asked.headers for asked in endpoint.asked)
        assert "dispatch" not in endpoint.asked[0].json
        assert run["result_count"] == 3
        started = await lab.start(experiment)
        strict = lab.settings.model_copy(update={"webhooks_allow_private": False})
        assert (await lab.work(started["job_id"], strict)).state == "failed"
        assert len(endpoint.asked) == 2


async def test_a_local_function_needs_nobody(lab: Lab) -> None:
    await lab.people(3)
    config = {"question": "Really?", "dispatch": {"backend": "local", "callable": "toy"}}
    experiment = await lab.experiment(cohort_id=await lab.cohort(), config=config)
    settings = lab.settings.model_copy(update={"modal_url": None})
    started = await lab.start(experiment)
    assert (await lab.work(started["job_id"], settings)).state == "succeeded"
    results = await lab.results(await lab.run(experiment, started["run_id"]))
    assert all("Really?" in result["result"]["answer"] for result in results)
    assert len(results) == 3


async def test_results_by_a_signed_callback(lab: Lab) -> None:
    """In pieces, twice, signed; the job ends without having seen a result by poll. Unsigned ones change nothing."""
    settings = lab.settings.model_copy(update={"public_url": "https://muster.example/"})
    async with answering(script([ACCEPTED], [PENDING])) as endpoint:
        await lab.people(3)
        experiment = await lab.experiment(cohort_id=await lab.cohort())
        started = await lab.start(experiment)
        job = asyncio.create_task(lab.work(started["job_id"], settings.model_copy(update={"modal_url": endpoint.url})))
        while endpoint.count("GET") < 1:
            await asyncio.sleep(0.01)
        headers = endpoint.asked[0].headers
        address = httpx.URL(headers["muster-callback"])
        assert str(address) == f"https://muster.example/hooks/experiments/{started['run_id']}"
        secret = headers["muster-callback-secret"]

        async def send(body: Any, secret: str = secret, **more: str) -> httpx.Response:
            text = json.dumps(body)
            signed = {
                "webhook-id": "msg_1",
                "webhook-timestamp": str(int(datetime.now(UTC).timestamp())),
                "webhook-signature": Signer(secret).sign("msg_1", datetime.now(UTC), text),
            }
            return await lab.http.post(address.path, content=text, headers=signed | more)

        other = "whsec_" + base64.b64encode(bytes(32)).decode()
        assert (await send({"results": RESULTS}, other)).status_code == 401
        assert (await send({"results": RESULTS}, **{"webhook-timestamp": "1700000000"})).status_code == 401
        assert (await send({"results": RESULTS * 2})).status_code == 422
        assert (await send({"results": RESULTS, "part": 7})).status_code == 422
        assert (await send([])).status_code == 400
        assert (await send({"results": RESULTS[:1]})).json() == {"stored": 1}
        assert (await send({"results": [{"n": "another"}]})).json() == {"stored": 1}
        assert (await send({"results": RESULTS[1:], "offset": 1})).json() == {"stored": 3}
        assert (await job).state == "succeeded"
        assert (await send({"results": RESULTS})).status_code == 409
    run = await lab.run(experiment, started["run_id"])
    assert [result["result"] for result in await lab.results(run)] == RESULTS


async def test_a_callback_may_say_that_it_failed(lab: Lab) -> None:
    answers: list[asyncio.Task[httpx.Response]] = []

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET" and not answers:
            text = json.dumps({"status": "failed", "error": "no money"})
            headers = posted[0].headers
            now = datetime.now(UTC)
            signed = {
                "webhook-id": "m",
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": Signer(headers["muster-callback-secret"]).sign("m", now, text),
            }
            answers.append(
                asyncio.ensure_future(lab.http.post(headers["muster-callback"], content=text, headers=signed))
            )
        posted.append(asked)
        return ACCEPTED if asked.method == "POST" else PENDING

    posted: list[Asked] = []
    async with answering(answer) as endpoint:
        job, _ = await run_against(lab, endpoint, public_url="http://m.test")
    assert (job.state, "no money" in (job.error or "")) == ("failed", True)
    assert (await answers[0]).status_code == 200

"""The sizes of several cohorts at once, as small charts show them, against the exact history of each."""

from datetime import timedelta
from itertools import groupby

import httpx

from muster.cohorts.documents import Cohort
from muster.cohorts.generations import server_time
from muster.cohorts.sizes import recent_sizes, sizes


def without_repeats(values: list[int]) -> list[int]:
    return [value for value, _ in groupby(values)]


async def test_they_follow_the_exact_history(client: httpx.AsyncClient) -> None:
    """By hand, by runs that replace a generation, by the first fill; and what happened before `since` counts."""
    for number in range(6):
        await client.put(f"/v1/leads/P{number}", json={"score": number * 10})
    by_hand = (await client.post("/v1/cohorts", json={"name": "By hand", "kind": "static", "members": ["P0"]})).json()
    ruled = {"name": "By rule", "kind": "dynamic", "rule": "lead.score > 20"}
    by_rule = (await client.post("/v1/cohorts", json=ruled)).json()
    since = await server_time()
    await client.post(f"/v1/cohorts/{by_hand['id']}/members", json={"members": ["P1", "P2", "P3"]})
    late = (await client.post("/v1/cohorts", json={**ruled, "name": "Late"})).json()
    await client.patch(f"/v1/cohorts/{by_rule['id']}", json={"rule": "lead.score > 40"})
    await client.request("DELETE", f"/v1/cohorts/{by_hand['id']}/members", json={"members": ["P0"]})
    await client.patch(f"/v1/cohorts/{by_rule['id']}", json={"rule": "lead.score >= 0"})

    cohorts = await Cohort.find({"_id": {"$in": [by_hand["id"], by_rule["id"], late["id"]]}}).to_list()
    points = round((await server_time() - since) / timedelta(milliseconds=1)) + 1_000
    found = await recent_sizes(cohorts, since=since, points=points)
    for cohort in cohorts:
        exact = await sizes("ada", cohort.id, since=since, until=None, points=1_000)
        expected = [exact.size_before, *(item.size for item in exact.items)]
        told = found[cohort.id]
        assert len(told) == points
        assert told[-1] == cohort.member_count
        assert without_repeats([exact.size_before, *told]) == without_repeats(expected), cohort.name
    coarse = await recent_sizes(cohorts, since=since, points=2)
    assert {cohort.id: coarse[cohort.id][-1] for cohort in cohorts} == {each.id: each.member_count for each in cohorts}

"""What services say, in the language of the page: every sentence of the source is translated, and found again."""

import re
import time
from collections.abc import Iterator
from itertools import islice

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.console import languages, sentences
from muster.jobs.documents import Job
from muster.rules import RuleError
from tests.console.test_cohort_pages import notice, send
from tests.console.test_job_pages import made
from tests.console.worlds import HOSTILE
from tests.rules.engines import read_or_refuse
from tests.rules.fuzzing import Fuzz

PLACE = re.compile(r"%\(\d\)s")
LONGEST = 20_000  # characters of a field of a form, which a sentence may repeat


@pytest.fixture(autouse=True)
def english_again() -> Iterator[None]:
    yield
    languages.speak("en")


@pytest.mark.parametrize("code", sentences.TRANSLATED)
def test_every_sentence_is_translated(code: str) -> None:
    """With the same values, and nothing that nobody says any more."""
    there = {str(message.id): message for message in sentences.stored(code) if message.id}
    assert len(there) > 250
    assert sorted(sentences.sentences().keys() - there.keys()) == [], "`make translations`, then translate these"
    assert sorted(there.keys() - sentences.sentences().keys()) == [], "`make translations` takes these out"
    for text, message in there.items():
        assert message.string, f"{text!r} is not translated"
        assert not message.fuzzy, text
        assert sorted(PLACE.findall(str(message.string))) == sorted(PLACE.findall(text)), text


def test_sentences_are_found_in_the_source() -> None:
    """Of constructors and of names, with values, both ways of a choice; nothing that is for a log."""
    found = sentences.sentences()
    for text in (
        "There is no field %(1)s.",
        "%(1)s still holds %(2)s; delete them first.",
        "This must be true or false.",
        "This profile has no lead.",
        "There is an agent with this id already.",
    ):
        assert text in found, text
    assert "src/muster/agents/service.py" in found["%(1)s is not active."]


def test_what_is_wrong_with_a_rule_is_found_again() -> None:
    """Of thousands of rules that are wrong in many ways, each problem is known by its sentence."""
    languages.speak("fr")
    told = 0
    for _kind, source in islice(Fuzz(2), 2_500):
        rule = read_or_refuse(source)
        for problem in rule.problems if isinstance(rule, RuleError) else rule.warnings:
            told += 1
            assert sentences.translated(problem.detail) is not None, problem.detail
    assert told > 2_000


texts = st.text(st.characters(codec="utf-8", exclude_characters=",\u2068\u2069"), min_size=1, max_size=30)


@pytest.mark.parametrize("code", sentences.TRANSLATED)
@given(index=st.integers(0, 10_000), values=st.lists(texts, min_size=4, max_size=4))
def test_no_value_is_lost(code: str, index: int, values: list[str]) -> None:
    """Whatever stands in a sentence stands in its translation, or the sentence is shown as it was said."""
    languages.speak(code)
    known = sorted(sentences.sentences())
    text = known[index % len(known)]
    said = PLACE.sub(lambda place: values[int(place[0][2]) - 1], text)
    shown = sentences.translated(said)
    used = {values[int(place[2]) - 1] for place in PLACE.findall(text)}
    plain = (shown or said).replace("\u2068", "").replace("\u2069", "")
    for value in used:
        assert (
            value in plain
            or sentences.translated(value) is not None
            or any(other in value or value in other for other in used if other != value)
        ), (said, shown)


@pytest.mark.parametrize("said", ["There is no " + "in " * 6_000, "a, " * 6_000, "There is no profile " * 1_000 + "."])
def test_a_long_sentence_takes_no_time(said: str) -> None:
    """Its time grows with its length alone: a hundred times as much is far from a second."""
    languages.speak("ar")
    sentences.translated("warm")
    began = time.process_time()
    for _ in range(100):
        sentences.translated(said[:LONGEST])
    assert time.process_time() - began < 30


def test_values_are_kept_apart_in_arabic() -> None:
    """A list of things that services name is translated piece by piece; somebody's own text is isolated."""
    languages.speak("ar")
    assert (
        sentences.sentence("There is no cohort 'COH-9' in PRJ-1.")
        == "لا مجموعة \u2068'COH-9'\u2069 في \u2068PRJ-1\u2069."
    )
    held = sentences.sentence("PRJ-2 still holds a profile, an experiment; delete them first.")
    assert "ملف، تجربة" in held
    languages.speak("fr")
    assert sentences.sentence("PRJ-2 still holds a profile, 3 cohorts; delete them first.") == (
        "PRJ-2 contient encore un profil, 3 cohortes ; supprimez-les d\u2019abord."
    )


def test_what_nobody_translated_is_marked() -> None:
    languages.speak("fr")
    assert sentences.told("Nobody says this.") == '<bdi lang="en" dir="auto">Nobody says this.</bdi>'
    assert "<img" not in sentences.told(HOSTILE)
    assert "<img" not in sentences.told(f"There is no field {HOSTILE}.")


FRENCH = {"Accept-Language": "fr"}


async def test_pages_say_what_is_wrong_in_their_language(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """Refused forms, notices, pages of errors, failed jobs, the check of a rule; the API goes on in English."""
    ada.headers.update(FRENCH)
    rule = {"name": "X", "kind": "dynamic", "rule": "lead.scroe > 5", "description": ""}
    refused = await send(ada, "/cohorts/new", "/cohorts/new", **rule)
    assert "Il n\u2019y a pas de champ lead.scroe." in refused.text
    nameless = await send(ada, "/cohorts/new", "/cohorts/new", **{**rule, "name": ""})
    assert "Il faut au moins 1 caractère" in nameless.text
    token = re.findall(r'name="form_token" value="([^"]*)"', refused.text)[0]
    checked = await ada.post("/rules/check", data={"form_token": token, "rule": "lead.score > 'x"})
    assert checked.json()["errors"][0]["detail"] == "Ce guillemet n\u2019est jamais fermé."
    assert "Il n\u2019y a pas de tâche RUN-99." in (await ada.get("/jobs/RUN-99")).text
    job = await made(state="failed", error="The experiment was deleted.")
    assert "L\u2019expérience a été supprimée." in (await ada.get(f"/jobs/{job}")).text
    assert "L\u2019expérience a été supprimée." in (await ada.get("/jobs")).text
    await Job.get_motor_collection().update_one({"_id": job}, {"$set": {"state": "succeeded"}})
    said = await notice(ada, await send(ada, f"/jobs/{job}", f"/jobs/{job}/cancel"))
    assert "il n\u2019y a plus rien à annuler" in said
    answer = await client.post(f"/v1/jobs/{job}/cancel", headers=FRENCH)
    assert answer.json()["detail"] == f"{job} has succeeded already; there is nothing left to cancel."

"""What services say, in the language of the page: every sentence of the source is translated, and found again."""

import ast
import re
import time
from collections.abc import Iterator, Sequence
from itertools import islice

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.console import languages, sentences
from muster.jobs.documents import Job
from muster.rules import RuleError
from muster.rules.fields import PARTS
from tests.console.test_cohort_pages import notice, send
from tests.console.test_job_pages import made
from tests.console.worlds import HOSTILE
from tests.rules.engines import REGISTRY, read_or_refuse
from tests.rules.fuzzing import Fuzz

PLACE = re.compile(r"%\(\d\)[sw]")
LONGEST = 20_000  # characters of a field of a form, which a sentence may repeat


@pytest.fixture(autouse=True)
def english_again() -> Iterator[None]:
    yield
    languages.speak("en")


@pytest.mark.parametrize("code", sentences.TRANSLATED)
def test_every_sentence_is_translated(code: str) -> None:
    """With the same values, and nothing that nobody says any more."""
    stored = [message for message in sentences.stored(code) if message.id]
    words = {str(message.id): message.string for message in stored if message.context}
    assert words.keys() == sentences.WORDS, "`make translations`"
    assert all(words.values()), words
    there = {str(message.id): message for message in stored if not message.context}
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


def test_no_english_hides_in_a_value() -> None:
    """Whatever text of ours can come to stand in a place of a sentence is a sentence or a word of the catalogue.

    Looked for in the source: the choices in a place, what is assigned to its name, what a function of the same file
    returns.
    """
    names = {"MongoDB", "Redis", "field", "fact"}
    known = {*sentences.sentences(), *sentences.WORDS, *names}
    hidden = []
    for path in sorted(sentences.SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        for function in functions:
            for node in ast.walk(function):
                if isinstance(node, ast.JoinedStr) and known.intersection(sentences.texts_of(node)):
                    for place in node.values:
                        if isinstance(place, ast.FormattedValue):
                            texts = texts_in(place.value, function, functions, set())
                            hidden += [(path.name, node.lineno, text) for text in texts if text not in known]
    assert sorted(set(hidden)) == []


def texts_in(
    node: ast.expr, function: ast.AST, functions: Sequence[ast.FunctionDef | ast.AsyncFunctionDef], seen: set[str]
) -> Iterator[str]:
    """The texts with a word in them that an expression can be."""
    match node:
        case ast.Constant(value=str()) | ast.JoinedStr():
            for text in sentences.texts_of(node):
                if re.search(r"[A-Za-z]{2}", PLACE.sub("", text)):
                    yield text
        case ast.IfExp(body=body, orelse=otherwise):
            yield from texts_in(body, function, functions, seen)
            yield from texts_in(otherwise, function, functions, seen)
        case ast.BoolOp(values=values):
            for value in values:
                yield from texts_in(value, function, functions, seen)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield from texts_in(left, function, functions, seen)
            yield from texts_in(right, function, functions, seen)
        case ast.Call(
            func=ast.Attribute(value=ast.Constant(), attr="join"), args=[ast.GeneratorExp() | ast.ListComp() as made]
        ):
            yield from texts_in(made.elt, function, functions, seen)
        case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="join"), args=[value]):
            yield from texts_in(value, function, functions, seen)
        case ast.Name(id=name) if name not in seen:
            for each in ast.walk(function):
                if isinstance(each, ast.Assign) and name in {
                    found.id for found in each.targets if isinstance(found, ast.Name)
                }:
                    yield from texts_in(each.value, function, functions, seen | {name})
        case ast.Call(func=ast.Name(id=name)) if name not in seen:
            for each in functions:
                for inner in ast.walk(each) if each.name == name else ():
                    if isinstance(inner, ast.Return) and inner.value:
                        yield from texts_in(inner.value, each, functions, seen | {name})


def test_what_is_wrong_with_a_rule_is_found_again() -> None:
    """Of thousands of rules that are wrong in many ways, each problem is known by its sentence.

    And what stays as it was said, kept apart in Arabic, is a number or comes from the rule; it is no English of ours.
    """
    languages.speak("ar")
    told = 0
    english = set()
    for _kind, source in islice(Fuzz(2), 2_500):
        rule = read_or_refuse(source)
        for problem in rule.problems if isinstance(rule, RuleError) else rule.warnings:
            told += 1
            shown = sentences.translated(problem.detail)
            assert shown is not None, problem.detail
            kept = re.findall("\N{FIRST STRONG ISOLATE}(.*?)\N{POP DIRECTIONAL ISOLATE}", shown, re.DOTALL)
            english |= {(value, problem.detail) for value in kept if not comes_from(value, source)}
    assert told > 2_000
    assert english == set()


def comes_from(value: str, source: object) -> bool:
    """Whether a value is a number, or words of a rule: as it stands there, as a literal, or a name put together."""
    if re.fullmatch(r"[\d,.]+", value) or set(value.split(", ")) <= set(PARTS) or value in REGISTRY:
        return True
    texts = [*strings_of(source), str(source)]
    plain = ast.literal_eval(value) if value[0] in "'\"" and value[-1] == value[0] else value
    return any(plain in text for text in texts) or all(
        any(word in text for text in texts) for word in value.split(".") if re.fullmatch(r"\w+\.\w+", value)
    )


def strings_of(source: object) -> Iterator[str]:
    """Every text in a rule's tree, or the rule's text."""
    if isinstance(source, str):
        yield source
    for inner in source.values() if isinstance(source, dict) else source if isinstance(source, list) else ():
        yield from strings_of(inner)


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


@pytest.mark.parametrize(
    "said",
    [
        "There is no " + "in " * 6_000,
        "a, " * 6_000,
        "There is no profile " * 1_000 + ".",
        "There is no profile 'P' in PRJ-1. " * 600,
        "P is not active, " * 1_000,
        "a profile, " * 1_500 + ".",
    ],
)
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
        "PRJ-2 contient encore un profil, 3 cohortes\u00a0; supprimez-les d\u2019abord."
    )


def test_sentences_within_sentences_are_translated() -> None:
    """Words in their places alone, the more of a sentence that is known the better, and one sentence after another."""
    languages.speak("fr")
    for said, shown in (
        ("The agent 7 was deleted.", "L\u2019agent 7 a \u00e9t\u00e9 supprim\u00e9."),
        ("number is not active.", "number n\u2019est pas actif."),
        (
            "lead.score is a number; this comparison can never hold.",
            "lead.score est de type nombre\u00a0; cette comparaison ne peut jamais \u00eatre vraie.",
        ),
        (
            "Attio answered 429 slow: it sent no JSON. Muster asked 4 times.",
            "Attio a r\u00e9pondu 429 slow\u00a0: il n\u2019a pas envoy\u00e9 de JSON. Muster a demand\u00e9 4 fois.",
        ),
        (
            "/b does not fit: This must be a number. /a does not fit: This must be a list.",
            "/b n\u2019est pas valide\u00a0: Il faut un nombre. /a n\u2019est pas valide\u00a0: Il faut une liste.",
        ),
    ):
        assert sentences.translated(said) == shown


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

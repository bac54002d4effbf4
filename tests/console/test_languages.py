"""English, French, Arabic: nothing is left untranslated, and each visitor reads the language they asked for."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po

from muster.console import languages
from muster.console.pages import TEMPLATES
from tests.console.conftest import form_token

CONSOLE = TEMPLATES.parent
METHODS = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
KEYWORDS = {**DEFAULT_KEYWORDS, "marked": None}
PLACEHOLDER = re.compile(r"%\(\w+\)s|</?\w+[^>]*>")

# What is the same in every language.
NAMES = re.compile(r"\b(Muster|muster|COH|curl|demo|cohorts|create)\b")


def texts() -> dict[str, tuple[str, ...]]:
    """Every text of the console, by its English singular."""
    options = {"**/templates/**.html": {"extensions": "jinja2.ext.i18n", "newstyle_gettext": "true"}}
    found = extract_from_dir(CONSOLE, METHODS, options, keywords=KEYWORDS)
    forms = (message if isinstance(message, tuple) else (message,) for _, _, message, _, _ in found)
    return {each[0]: each for each in forms}


def stored(code: str) -> Catalog:
    with (languages.LOCALES / code / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale=code)


@pytest.mark.parametrize("code", languages.LANGUAGES)
def test_every_text_is_in_the_catalogue(code: str) -> None:
    """With as many forms as the language counts in, and with the same placeholders and tags."""
    catalogue, wanted = stored(code), texts()
    assert len(wanted) > 150
    there = {message.id if isinstance(message.id, str) else message.id[0]: message for message in catalogue}
    assert [text for text in wanted if text not in there] == [], "`make translations`, then translate these"
    assert [text for text in there if text and text not in wanted] == [], "`make translations` takes these out"
    for text, forms in wanted.items():
        message = there[text]
        translated = message.string if isinstance(message.string, tuple) else (message.string,)
        assert len(translated) == (catalogue.num_plurals if len(forms) > 1 else 1), text
        assert not message.fuzzy, text
        for each in translated:
            assert each, f"{text!r} is not translated"
            assert tags_and_names(each) == tags_and_names(text), (text, each)
    if code != "en":
        same = [text for text in wanted if there[text].string == text]
        assert len(same) < 0.06 * len(wanted), same  # "Contact" is a word in French, too


def test_arabic_counts_as_it_does() -> None:
    """From 11 to 99 what is counted stands in the accusative, which ends in -an; at a hundred it does not."""
    found = languages.catalogue("ar")
    members = [found.ungettext("%(shown)s member", "%(shown)s members", count) for count in (1, 2, 3, 11, 99, 100, 103)]
    assert members == [
        "عضو واحد (%(shown)s)",
        "عضوان (%(shown)s)",
        "%(shown)s أعضاء",
        "%(shown)s عضوًا",
        "%(shown)s عضوًا",
        "%(shown)s عضو",
        "%(shown)s أعضاء",
    ]
    counted = [forms for forms in texts().values() if len(forms) > 1]
    assert len(counted) > 20
    for one, many in counted:
        eleven, hundred = (found.ungettext(one, many, count) for count in (11, 100))
        assert eleven == hundred or eleven.count("ًا") > hundred.count("ًا"), (eleven, hundred)


def tags_and_names(text: str) -> list[str]:
    return sorted(found.replace(' dir="ltr"', "") for found in PLACEHOLDER.findall(text))


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_no_template_has_a_text_that_nobody_translates(template: Path) -> None:
    assert list(bare_texts(template.read_text())) == []


def test_the_look_for_bare_texts_finds_them() -> None:
    page = '{# no #}<p title="Say it">{{ name }}</p>{% trans %}fine{% endtrans %}<b>Or <code>that</code></b> · Muster'
    assert list(bare_texts(page)) == ["Say it", "Or"]


def bare_texts(page: str) -> Iterator[str]:
    """Words that stand in a template by themselves: between tags, or in an attribute that is read out or shown."""
    for pattern in (r"\{#.*?#\}", r"\{%-?\s*trans\b.*?endtrans\s*-?%\}", r"<(code|pre)\b.*?</\1>"):
        page = re.sub(pattern, "", page, flags=re.DOTALL)
    page = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", page, flags=re.DOTALL)
    shown = re.findall(r'\b(?:aria-label|placeholder|title|alt)="([^"]*)"', page)
    between = re.split(r'<(?:"[^"]*"|[^">])*>', page)
    for text in (*shown, *between):
        if re.search(r"[^\W\d_]", NAMES.sub("", text)):
            yield text.strip()


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"),
        ("fr", "fr"),
        ("fr-CA,en;q=0.8", "fr"),
        ("de, ar;q=0.5, en;q=0.4", "ar"),
        ("ar;q=0.1, fr;q=0.9", "fr"),
        ("fr;q=0", "en"),
        ("fr;q=x, ar", "ar"),
        ("*", "en"),
        (",;q=,\x7f;;", "en"),
    ],
)
async def test_a_page_speaks_what_the_browser_asks_for(visitor: httpx.AsyncClient, header: str, code: str) -> None:
    page = (await visitor.get("/signin", headers={"Accept-Language": header})).text
    assert f'<html lang="{code}" dir="{"rtl" if code == "ar" else "ltr"}">' in page


async def test_a_chosen_language_and_look_stay(ada: httpx.AsyncClient) -> None:
    """Whatever the browser asks for; chosen by a plain form on every page."""
    page = (await ada.get("/jobs?only=failed")).text
    assert 'name="back" value="/jobs?only=failed"' in page
    chosen = {"form_token": form_token(page), "language": "fr", "back": "/jobs?only=failed"}
    answer = await ada.post("/preferences", data=chosen)
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?only=failed")
    answer = await ada.post("/preferences", data={"form_token": form_token(page), "theme": "dark", "back": "//evil"})
    assert answer.headers["location"] == "/"
    page = (await ada.get("/", headers={"Accept-Language": "ar"})).text
    assert '<html lang="fr" dir="ltr" data-theme="dark">' in page
    assert "Pas encore de cohortes" in page
    for wrong in ({"language": "xx"}, {"theme": "<b>"}):
        assert (await ada.post("/preferences", data={"form_token": form_token(page), **wrong})).status_code == 422


async def test_a_visitor_chooses_before_signing_in(visitor: httpx.AsyncClient) -> None:
    page = (await visitor.get("/signin")).text
    answer = await visitor.post("/signin/preferences", data={"form_token": form_token(page), "language": "ar"})
    assert answer.headers["location"] == "/"
    assert '<html lang="ar" dir="rtl">' in (await visitor.get("/signin")).text


def test_arabic_counts_in_six_forms() -> None:
    languages.speak("ar")
    forms = {languages.ngettext("%(shown)s member", "%(shown)s members", count) for count in (0, 1, 2, 3, 11, 100)}
    assert len(forms) == 6
    assert languages.ngettext("%(shown)s member", "%(shown)s members", 5) == "%(shown)s أعضاء"
    assert languages.ngettext("%(shown)s member", "%(shown)s members", 25) == "%(shown)s عضوًا"


def test_numbers_and_times_are_those_of_the_language() -> None:
    when = datetime(2026, 3, 1, 22, 5, tzinfo=UTC)
    for code, number, share, moment in (
        ("en", "1,234,567", "12.5%", "Mar 1, 2026 23:05"),
        ("fr", "1\u202f234\u202f567", "12,5\u202f%", "1 mars 2026 23:05"),
    ):
        languages.speak(code)
        assert (languages.number(1234567), languages.percent(12.5)) == (number, share)
        assert languages.moment(when, "Europe/Paris") == moment
    languages.speak("ar")
    assert languages.moment(when, "Europe/Paris").endswith("2026 23:05")

"""What language a page speaks: the catalogues, which of them a visitor reads, and numbers and times as they are there.

Texts are English in the code and the templates. `locales/<language>/LC_MESSAGES/messages.po` has them in each language;
it is read once per process as it stands, so there is nothing to build. `make translations` brings it up to date.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from babel.core import Locale
from babel.dates import format_date, format_datetime, format_timedelta, get_day_names
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import Translations
from litestar.connection import ASGIConnection

LOCALES = Path(__file__).parent / "locales"
COOKIE: Final = "muster_language"

LANGUAGES: Final[Mapping[str, str]] = {"en": "English", "fr": "Français", "ar": "العربية"}
"""Each language by its own name. The first one is spoken where none fits."""

WEEK: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_spoken: ContextVar[str] = ContextVar("language", default="en")

TimeFormat = Literal["short", "medium", "long", "full"]


@dataclass(frozen=True, slots=True)
class Language:
    """A language as a page needs it: its code, its own name, and the direction it is written in."""

    code: str
    name: str
    direction: str


def language_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Language:
    """The language that a visitor has chosen, else the first of those their browser asks for that we speak."""
    chosen = connection.cookies.get(COOKIE, "")
    return language(chosen if chosen in LANGUAGES else _wanted(connection.headers.get("accept-language", "")))


def language(code: str) -> Language:
    """A language by its code."""
    direction = Locale.parse(code).text_direction
    return Language(code, LANGUAGES[code], direction)


def speak(code: str) -> None:
    """Let everything that is worded in this task from now on be in this language."""
    _spoken.set(code)


def spoken() -> str:
    """The language of this task."""
    return _spoken.get()


def gettext(message: str) -> str:
    """A text in the language of this task."""
    return catalogue(_spoken.get()).ugettext(message)


def ngettext(one: str, many: str, count: int) -> str:
    """A text that counts something; how many forms there are depends on the language (Arabic has six)."""
    return catalogue(_spoken.get()).ungettext(one, many, count)


def marked(text: str) -> str:
    """A text that is translated where it is shown; here it is only found by `make translations`."""
    return text


def number(value: float) -> str:
    """A number with the separators of the language."""
    return format_decimal(value, locale=_spoken.get())


def percent(value: float) -> str:
    """A share, given from 0 to 100, with at most one decimal."""
    form = "#,##0.#\u202f%" if spoken() == "fr" else "#,##0.#%"
    return format_percent(value / 100, format=form, locale=spoken())


def moment(value: datetime, zone: str, how: TimeFormat = "medium") -> str:
    """A time as a person reads it, in a project's time zone: to the minute."""
    local, code = value.astimezone(ZoneInfo(zone)), _spoken.get()
    time = format_datetime(local, "HH:mm", locale=code)
    return f"{format_date(local.date(), how, locale=code)} {time}"


def weekday(day: str) -> str:
    """A day of the week, given in English and small letters, as a word."""
    return str(get_day_names("wide", locale=spoken())[WEEK.index(day)])


def ago(value: datetime) -> str:
    """How long ago a time is, roughly: "3 minutes ago"."""
    passed = min(value - datetime.now(UTC), timedelta(seconds=-1))
    return format_timedelta(passed, add_direction=True, locale=_spoken.get())


@cache
def catalogue(code: str) -> Translations:
    """The texts of a language."""
    with (LOCALES / code / "LC_MESSAGES" / "messages.po").open("rb") as file:
        read = read_po(file, locale=code)
    compiled = BytesIO()
    write_mo(compiled, read)
    compiled.seek(0)
    return Translations(compiled)


def _wanted(header: str) -> str:
    """The best of our languages for an `Accept-Language`; the first of ours when none is asked for."""
    best, at_most = next(iter(LANGUAGES)), 0.0
    for part in header[:1_000].split(","):
        tag, _, quality = part.partition(";")
        code = tag.strip().lower().partition("-")[0]
        weight = _weight(quality)
        if code in LANGUAGES and weight > at_most:
            best, at_most = code, weight
    return best


def _weight(quality: str) -> float:
    name, _, value = quality.strip().partition("=")
    if name != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0

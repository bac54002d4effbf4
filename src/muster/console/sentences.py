"""What services say, in the language of a page: errors, problems of rules, why something failed.

Services speak English, to the API and to a log. Here the English sentence is the key: it is found again among the
sentences that stand in the source, whose values (`{…}` of an f-string) are `%(1)s`, `%(2)s` in the catalogue
`locales/<language>/LC_MESSAGES/sentences.po`. A value that may be a sentence itself is translated too; one that is
always a word of ours, such as a type, is `%(1)w`, and the words stand in the same file with the context "word".
What libraries say, and what else does not stand in the source, is listed in `locales/beside.txt`. A sentence that is
not there is shown in English, and marked so.
`make translations` runs this module, which brings those catalogues up to date with the source.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po
from markupsafe import Markup

from muster.console.languages import LOCALES, language, spoken
from muster.jobs.documents import JobState
from muster.rules.building import TYPE_NAMES
from muster.rules.fields import PARTS, FieldType

SOURCE = Path(__file__).parents[1]
SPEAKERS = ("rules", "records", "cohorts", "agents", "experiments", "attio", "webhooks", "projects", "jobs", "api")
TRANSLATED = ("fr", "ar")

# Where sentences are for callers of the API, for a terminal or for a log alone.
_ELSEWHERE = re.compile(
    r"\w+/(\w*routes|\w*commands|files|callbacks|relay|planning|models|oracle|index_\w+)\.py|"
    r"attio/(deliveries|hook\w*)\.py|api/(idempotency|jwks|requests|health|numbering|keys|documentation)\.py|"
    r"rules/(functions|near|predicates|source)\.py|records/(demo\w*|registry_file)\.py|jobs/doorbell\.py"
)
_SAID_BY = frozenset(
    {
        *("BadRequest", "Unauthenticated", "Forbidden", "NotFound", "Conflict", "PreconditionFailed", "TooLarge"),
        *("UnsupportedMedia", "StaleForm", "Invalid", "Unavailable", "Problem", "ValueError", "DoesNotFitError"),
        *("AttioKeyRefused", "AttioApiError", "AttioNotFound", "AttioRefused", "AttioUnavailable"),
        *("Refused", "Refusal", "Trouble", "Unknown", "NotYet", "GitTrouble", "LineError"),
    }
)
_NAMES = frozenset({"detail", "said", "sentence", "reason", "who", "keys", "_REFUSED"})
_LISTS = frozenset({"holdings", "users_of"})  # functions whose answers stand in sentences
_FEWEST_LETTERS = 4  # a sentence with fewer would be found everywhere

FIELDS = (
    "name",
    "description",
    "kind",
    "members",
    "agent_ids",
    "experiment_ids",
    "api_key",
    "timezone",
    "tasks",
    "title",
)
WORDS = frozenset({*FieldType, *TYPE_NAMES.values(), *get_args(JobState), *PARTS, *FIELDS, "another type"})
"""What stands in a sentence as a value, and is a word of ours: types, states, parts, fields of forms."""

# Where the value of a sentence is called one of these, it is a word.
_WORD_PLACES = frozenset({"type", "types", "state", "known_type", "part", "field_name"})

_WHOLE = re.compile(r"[A-Za-z%`$][^\n]* [^\n]*([.?]|\. \(?%\(\d+\)s\)?|: %\(\d+\)s)")
_LOGGED = re.compile(r"%[-.\d]*[sdf]")  # the places of a message for the log

_PLACE = re.compile(r"%\((\d+)\)([sw])")
_ENDS = re.compile(r"(?<=[.?]) ")  # of a sentence before another
_DEEPEST = 4  # sentences inside each other
_MOST_IN_TURN = 30  # sentences or words one after the other; services say ten at most


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of the source: the texts around its values, what it is in a language, and which values are words."""

    pieces: Sequence[str]
    translated: str
    words: frozenset[int]

    def values_in(self, said: str) -> list[str] | None:
        """The values in what was said, if it is this sentence. Each ends where the text behind it first comes."""
        first, *others = self.pieces
        if not said.startswith(first):
            return None
        if not others:
            return [] if said == first else None
        last = others.pop()
        if not said.endswith(last) or len(said) < len(first) + len(last):
            return None
        at, end, values = len(first), len(said) - len(last), []
        for piece in others:
            found = said.find(piece, at, end)
            if found < 0:
                return None
            values.append(said[at:found])
            at = found + len(piece)
        return [*values, said[at:end]]

    def with_values(self, values: Sequence[str]) -> str:
        """What it is in the other language, with these values."""
        return _PLACE.sub(lambda place: values[int(place[1]) - 1], self.translated)


@dataclass(frozen=True, slots=True)
class Read:
    """What was said in a language, and how many of its characters are values that stay as they are."""

    text: str
    left: int


def told(said: str) -> Markup:
    """A sentence of a service as a page shows it, apart from the text around it."""
    found = translated(said)
    if found is None:
        return Markup('<bdi lang="en" dir="auto">{}</bdi>').format(said)
    return Markup("<bdi>{}</bdi>").format(found)


def sentence(said: str) -> str:
    """A sentence of a service in the language of this task; as it is, where nobody translated it."""
    return translated(said) or said


def translated(said: str) -> str | None:
    """A sentence of a service in the language of this task; None where nobody translated it."""
    code = spoken()
    if code not in TRANSLATED:
        return said
    found = _read(said, code, _DEEPEST)
    return None if found is None else found.text


def _read(said: str, code: str, depth: int) -> Read | None:
    """The reading that leaves the least of it untranslated: "%(1)s was deleted." may be a part of a longer one."""
    best: Read | None = None
    if not depth:
        return None
    for known in _sentences(code):
        values = known.values_in(said)
        if values is None:
            continue
        read = [
            _value(value, code, depth - 1, is_word=number in known.words)
            for number, value in enumerate(values, start=1)
        ]
        left = sum(each.left for each in read)
        if best is None or left < best.left:
            best = Read(known.with_values([each.text for each in read]), left)
        if not left:
            return best
    several = _in_turn(_ENDS.split(said), code, depth, " ")
    return several if several and (best is None or several.left < best.left) else best


def _value(value: str, code: str, depth: int, *, is_word: bool) -> Read:
    """A value within a sentence: a sentence or word itself, a list of such, or somebody's own text, kept apart."""
    if is_word and (word := _words(code).get(value)):
        return Read(word, 0)
    comma = "، " if code == "ar" else ", "
    readings = (
        _in_turn(value.split(", "), code, depth, comma, are_words=is_word),
        _read(value, code, depth),
    )
    if known := [reading for reading in readings if reading is not None]:
        return min(known, key=lambda reading: reading.left)
    is_rtl = language(code).direction == "rtl"
    return Read(f"\N{FIRST STRONG ISOLATE}{value}\N{POP DIRECTIONAL ISOLATE}" if is_rtl else value, len(value))


def _in_turn(parts: Sequence[str], code: str, depth: int, between: str, *, are_words: bool = False) -> Read | None:
    """What is said one after the other, if each of it is known."""
    read = []
    for part in parts if 1 < len(parts) <= _MOST_IN_TURN else ():
        word = _words(code).get(part) if are_words else None
        found = Read(word, 0) if word else _read(part, code, depth - 1)
        if found is None:
            return None
        read.append(found)
    return Read(between.join(each.text for each in read), sum(each.left for each in read)) if read else None


@cache
def _sentences(code: str) -> Sequence[Sentence]:
    """Those that are translated into a language; the one with the most text of its own comes first."""
    known = [
        Sentence(
            _PLACE.split(str(message.id))[::3],
            str(message.string),
            frozenset(int(number) for number, kind in _PLACE.findall(str(message.id)) if kind == "w"),
        )
        for message in stored(code)
        if message.id and message.string and not message.context
    ]
    return sorted(known, key=lambda each: -sum(map(len, each.pieces)))


@cache
def _words(code: str) -> dict[str, str]:
    """The words that services put into sentences: types, states."""
    return {str(message.id): str(message.string) for message in stored(code) if message.context and message.string}


def stored(code: str) -> Catalog:
    """The catalogue of a language, as it stands in its file."""
    with _file(code).open("rb") as file:
        return read_po(file, locale=code)


def _file(code: str) -> Path:
    return LOCALES / code / "LC_MESSAGES" / "sentences.po"


@cache
def sentences() -> dict[str, list[str]]:
    """Every sentence that services say to who uses the console, with the files that it stands in."""
    beside = (LOCALES / "beside.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, list[str]] = {text: [] for text in beside if text and not text.startswith("#")}
    for feature in (*SPEAKERS, "console"):
        for path in sorted((SOURCE / feature).rglob("*.py")):
            name = path.relative_to(SOURCE).as_posix()
            if feature != "console" and _ELSEWHERE.fullmatch(name):
                continue
            for text in _said_in(ast.parse(path.read_text(encoding="utf-8"))):
                if len(re.findall(r"[^\W\d_]", _PLACE.sub("", text))) >= _FEWEST_LETTERS:
                    places = found.setdefault(text, [])
                    places += [] if f"src/muster/{name}" in places else [f"src/muster/{name}"]
    return found


def _said_in(tree: ast.AST) -> Iterator[str]:
    """Whatever looks like a whole sentence, and what is said by an error or under a name, whole or not."""
    passed_over = set(_passed_over(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and node not in passed_over:
            yield from (text for text in texts_of(node) if _WHOLE.fullmatch(text) and not _LOGGED.search(text))
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _SAID_BY:
                for argument in (*node.args[:1], *(each.value for each in node.keywords if each.arg == "detail")):
                    yield from texts_of(argument)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in _NAMES:
                yield from texts_of(value)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name in _LISTS:
                for inner in ast.walk(node):
                    if isinstance(inner, ast.JoinedStr | ast.IfExp):
                        yield from texts_of(inner)


def _passed_over(tree: ast.AST) -> Iterator[ast.AST]:
    """What is no sentence of its own: docstrings, descriptions of the API, texts of the console, pieces of others."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant() as text):
                yield text
            case ast.keyword(arg="description" | "summary" | "title", value=value):
                yield from ast.walk(value)
            case ast.JoinedStr(values=values):
                yield from values
            case ast.Call(func=ast.Name(id="_" | "marked" | "ngettext")):
                yield from ast.walk(node)


def texts_of(node: ast.expr) -> list[str]:
    """What an expression may say; nothing where that cannot be read off."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            number = 0
            parts = []
            for value in values:
                if isinstance(value, ast.Constant):
                    parts.append(str(value.value))
                else:
                    number += 1
                    parts.append(f"%({number}){'w' if _is_word(value) else 's'}")
            return ["".join(parts)]
        case ast.IfExp(body=body, orelse=otherwise):
            return texts_of(body) + texts_of(otherwise)
        case ast.Dict(values=values):
            return [text for value in values for text in texts_of(value)]
    return []


def _is_word(node: ast.expr) -> bool:
    match node:
        case ast.FormattedValue(value=value) | ast.Call(func=ast.Attribute(attr="join"), args=[value]):
            return _is_word(value)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in _WORD_PLACES
    return False


def update() -> None:
    """Bring the catalogues up to date: new sentences come in empty, those that nobody says any more go."""
    template = Catalog(project="Muster", charset="utf-8")
    for text, places in sorted(sentences().items()):
        template.add(text, locations=[(place, 0) for place in places])
    for word in sorted(WORDS):
        template.add(word, context="word")
    for code in TRANSLATED:
        catalogue = stored(code) if _file(code).exists() else Catalog(locale=code)
        catalogue.update(template, no_fuzzy_matching=True, update_creation_date=False)
        with _file(code).open("wb") as file:
            write_po(file, catalogue, width=0, sort_output=True, ignore_obsolete=True, include_lineno=False)


if __name__ == "__main__":
    update()

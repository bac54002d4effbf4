"""Regular expressions: Python's meaning, run by RE2, which cannot be made slow.

What a pattern means is what Python's `re` makes of it: `\\d` is every decimal digit of Unicode, `$` also stands before
a final newline. RE2 differs in such corners, so a pattern is parsed by Python's parser and written anew for RE2; what
RE2 cannot say is refused with the reason. Python's own matcher never sees text from a profile: it can take for ever.
"""

import re
import re._constants as sre  # type: ignore[import-not-found]  # the parser's own names; there is no public way to a parsed pattern
import re._parser as sre_parser  # type: ignore[import-not-found]
import string
import sys
from array import array
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

import re2

MAX_MEMORY = 4 << 20  # bytes that RE2 may spend on one pattern
MAX_PORTABLE = 200  # characters of a pattern that MongoDB is given
MAX_TRANSLATED = 8_000  # of the same written out; MongoDB refuses patterns beyond 32 kB
MAX_WAYS = 100  # in which bounded repeats can share out the same characters
MAX_GROUPS = 30  # groups inside each other; Python's parser and ours recurse once per level

_LETTERS = frozenset(string.ascii_letters)
_REFUSED = {
    sre.GROUPREF: "it refers back to a group (\\1), which RE2 cannot match in bounded time",
    sre.GROUPREF_EXISTS: "it asks whether a group matched, which RE2 cannot do",
    sre.ASSERT: "it looks ahead or behind, which RE2 cannot do in bounded time",
    sre.ASSERT_NOT: "it looks ahead or behind, which RE2 cannot do in bounded time",
    sre.ATOMIC_GROUP: "it has an atomic group, which RE2 does not know",
    sre.POSSESSIVE_REPEAT: "it has a possessive repeat, which RE2 does not know",
}

# What Python's parser warns about (FutureWarning). The set's end is guessed: refusing a little more does no harm.
_AMBIGUOUS_SET = re.compile(r"(?<!\\)\[\^?\]?(?:[^\]\\]|\\.)*?(?:(?<!\\)\[|--|&&|~~|\|\|)", re.DOTALL)


def compile_pattern(pattern: str, *, anchored: bool) -> Any:
    """The pattern as an RE2 object whose `search(text)` is not None where Python's `match` (anchored) or `search` is.

    Raises ValueError, with the reason as its message, for what is not a pattern or not RE2's.
    """
    return _compiled(translate_pattern(pattern), anchored)


@cache
def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = MAX_MEMORY
    return options


def _compiled(translated: str, anchored: bool) -> Any:
    try:
        return re2.compile(rf"\A(?:{translated})" if anchored else translated, _options())
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
        raise ValueError(f"RE2 refuses it ({reason})") from error


def translate_pattern(pattern: str) -> str:
    """Write a Python pattern for RE2. Raises ValueError with the reason where there is no such thing."""
    if _groups_deep(pattern) > MAX_GROUPS:
        raise ValueError(f"its groups are nested more than {MAX_GROUPS} deep")
    if _AMBIGUOUS_SET.search(pattern):
        raise ValueError(r"a set holds [, --, &&, ~~ or ||, which later Pythons may read otherwise; put \ before it")
    try:
        parsed = sre_parser.parse(pattern)
        translated = _sequence(parsed, parsed.state.flags, at_end=True)
    except re.error as error:
        raise ValueError(error.msg if error.pos is None else f"{error.msg} at position {error.pos}") from error
    except OverflowError as error:
        raise ValueError("it repeats something more often than can be counted") from error
    except RecursionError as error:
        raise ValueError("its groups and choices are nested too deeply") from error
    _compiled(translated, anchored=True)
    return translated


@lru_cache(maxsize=4096)
def portable_pattern(pattern: str, *, anchored: bool) -> str | None:
    """The pattern for MongoDB's `$regex`, where PCRE surely gives Python's answer, in linear time; else None.

    Only literals, classes and anchors, repeated in few ways; one unbounded repeat, and only in a pattern that begins
    at the text's start, so that no text makes PCRE go over a character more than MAX_WAYS times. What RE2 reads is
    written without any shorthand whose meaning differs (`\\d`, `$`, `.`), so PCRE reads it the same.
    """
    try:
        parsed = sre_parser.parse(pattern)
        translated = translate_pattern(pattern)
    except (re.error, OverflowError, RecursionError, ValueError):
        return None
    items = list(parsed)
    is_anchored = anchored or items[:1] in ([(sre.AT, sre.AT_BEGINNING)], [(sre.AT, sre.AT_BEGINNING_STRING)])
    unbounded, ways = 0, 1
    for operation, argument in items:
        if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            least, most, inner = argument
            if len(inner) != 1 or inner[0][0] not in _CHARACTERS:
                return None
            if most is sre.MAXREPEAT:
                unbounded += 1
            else:
                ways *= most - least + 1
        elif operation not in _CHARACTERS and (operation, argument) not in _POSITIONS:
            return None
    is_short = len(pattern) <= MAX_PORTABLE and len(translated) <= MAX_TRANSLATED
    if parsed.state.flags & re.MULTILINE or unbounded > is_anchored or ways > MAX_WAYS or not is_short:
        return None
    return rf"\A(?:{translated})" if anchored else translated


_POSITIONS = tuple(
    (sre.AT, where) for where in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING, sre.AT_END, sre.AT_END_STRING)
)
_CHARACTERS = (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN)


def _groups_deep(pattern: str) -> int:
    depth = deepest = 0
    for sign in re.findall(r"\\.|[()]", pattern, re.DOTALL):
        depth += (sign == "(") - (sign == ")")
        deepest = max(deepest, depth)
    return deepest


def _sequence(items: Iterable[Any], flags: int, *, at_end: bool) -> str:
    listed = list(items)
    last = len(listed) - 1
    return "".join(
        _item(operation, argument, flags, at_end=at_end and index == last)
        for index, (operation, argument) in enumerate(listed)
    )


def _item(operation: Any, argument: Any, flags: int, *, at_end: bool) -> str:
    if operation in _REFUSED:
        raise ValueError(_REFUSED[operation])
    if operation in (sre.LITERAL, sre.NOT_LITERAL):
        return _class(_cased((argument, argument), flags), negated=operation is sre.NOT_LITERAL)
    if operation is sre.ANY:
        return "(?s:.)" if flags & re.DOTALL else r"[^\n]"
    if operation is sre.IN:
        negated = argument[0][0] is sre.NEGATE
        ranges = [found for kind, value in argument[negated:] for found in _class_item(kind, value, flags)]
        return _class(ranges, negated=negated)
    if operation is sre.BRANCH:
        return f"(?:{'|'.join(_sequence(branch, flags, at_end=at_end) for branch in argument[1])})"
    if operation is sre.SUBPATTERN:
        _group, added, removed, inner = argument
        return f"(?:{_sequence(inner, (flags | added) & ~removed, at_end=at_end)})"
    if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        least, most, inner = argument
        body = _sequence(inner, flags, at_end=at_end and most == 1)
        return f"(?:{body}){{{least},{'' if most is sre.MAXREPEAT else most}}}"
    if operation is sre.AT:
        return _position(argument, flags, at_end=at_end)
    raise ValueError(f"it uses {operation}, which is not known here")


def _position(position: Any, flags: int, *, at_end: bool) -> str:
    if position is sre.AT_BEGINNING:
        return "(?m:^)" if flags & re.MULTILINE else r"\A"
    if position is sre.AT_BEGINNING_STRING:
        return r"\A"
    if position is sre.AT_END_STRING:
        return r"\z"
    if position is sre.AT_END:
        if flags & re.MULTILINE:
            return "(?m:$)"
        if not at_end:
            raise ValueError(r"$ stands before something else; it can only end a pattern (\Z is the very end)")
        return r"\n?\z"  # Python's $ also stands before a final newline
    if flags & re.ASCII and position in (sre.AT_BOUNDARY, sre.AT_NON_BOUNDARY):
        return r"\b" if position is sre.AT_BOUNDARY else r"\B"
    raise ValueError(r"\b depends on what a letter is, where RE2 knows ASCII only; write (?a) in front to mean ASCII")


Range = tuple[int, int]

_CATEGORIES = {
    sre.CATEGORY_DIGIT: (r"\d", False),
    sre.CATEGORY_NOT_DIGIT: (r"\d", True),
    sre.CATEGORY_SPACE: (r"\s", False),
    sre.CATEGORY_NOT_SPACE: (r"\s", True),
    sre.CATEGORY_WORD: (r"\w", False),
    sre.CATEGORY_NOT_WORD: (r"\w", True),
}


def _class_item(kind: Any, value: Any, flags: int) -> Iterable[Range]:
    if kind in (sre.LITERAL, sre.RANGE):
        return _cased(value if kind is sre.RANGE else (value, value), flags)
    category, complemented = _CATEGORIES[value]
    ranges = _category(category, ascii_only=bool(flags & re.ASCII))
    return _complement(ranges) if complemented else ranges


def _class(ranges: Iterable[Range], *, negated: bool) -> str:
    merged = _merge(ranges)
    if negated:
        merged = _complement(merged)
    if not merged:
        return r"[^\x{0}-\x{10ffff}]"
    if len(merged) == 1 and merged[0][0] == merged[0][1]:
        return _character(merged[0][0])
    return f"[{''.join(f'{_character(low)}-{_character(high)}' for low, high in merged)}]"


def _character(code: int) -> str:
    return chr(code) if chr(code).isascii() and chr(code).isalnum() else f"\\x{{{code:x}}}"


def _cased(characters: Range, flags: int) -> list[Range]:
    """With `(?i)`, add what it makes equal, as Python sees it. Beyond ASCII the engines' tables differ: refused."""
    if not flags & re.IGNORECASE:
        return [characters]
    low, high = characters
    if high > 127:
        raise ValueError("it ignores case (?i) beyond ASCII letters, where engines differ; test .as_lower instead")
    letters = [chr(code) for code in range(low, high + 1) if chr(code) in _LETTERS]
    others = _other_cases(flags & re.ASCII) if letters else {}
    return [characters, *((ord(other), ord(other)) for letter in letters for other in others[letter])]


@cache
def _other_cases(ascii_flag: int) -> dict[str, str]:
    """For each ASCII letter, all characters that Python's `(?i)` takes for it: `k` is also the Kelvin sign."""
    candidates = "".join(re.findall("[a-z]", _all_characters(), re.IGNORECASE | ascii_flag))
    return {
        letter: "".join(re.findall(letter, candidates, re.IGNORECASE | ascii_flag)) for letter in string.ascii_letters
    }


@cache
def _category(category: str, *, ascii_only: bool) -> tuple[Range, ...]:
    """The ranges of code points in `\\d`, `\\s` or `\\w`, from the running Python itself: so they cannot differ."""
    flags = re.ASCII if ascii_only else 0
    return tuple((match.start(), match.end() - 1) for match in re.finditer(f"{category}+", _all_characters(), flags))


def _all_characters() -> str:
    codes = array("I", range(sys.maxunicode + 1)).tobytes()
    return codes.decode(f"utf-32-{sys.byteorder[0]}e", "surrogatepass")  # four times as fast as chr by chr


def _merge(ranges: Iterable[Range]) -> tuple[Range, ...]:
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def _complement(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Everything outside of merged, sorted ranges."""
    gaps: list[Range] = []
    start = 0
    for low, high in ranges:
        if low > start:
            gaps.append((start, low - 1))
        start = high + 1
    if start <= sys.maxunicode:
        gaps.append((start, sys.maxunicode))
    return tuple(gaps)

"""Which texts, in capital letters, are or hold a given one: as a pattern, for MongoDB's own `$toUpper` is ASCII only.

In capitals ß is SS and ﬁ is FI, so one character can stand for two of those that are searched for, or for one of them
and a neighbour.
"""

import string
from functools import cache, lru_cache

from muster.rules.conditions import TextTestKind

MAX_PATTERN = 4_000  # characters


@lru_cache(maxsize=4096)
def capitals_pattern(kind: TextTestKind, text: str) -> str | None:
    """A PCRE pattern of what in capitals passes a test with an ASCII text of capitals; None where it grows too long."""
    opens, ends_open = kind in ("contains", "ends with"), kind in ("contains", "starts with")
    rest = [""] * len(text) + ["" if ends_open else r"\z"]  # what matches from a position of the text to its end
    for position in reversed(range(len(text))):
        left = text[position:]
        ways = [_class(found) + rest[position + len(capitals)] for capitals, found in _within(left)]
        if ends_open:
            ways += [_class(each) for each, capitals in _several() if capitals.startswith(left) and capitals != left]
        rest[position] = _either(ways)
        if len(rest[position]) > MAX_PATTERN:
            return None
    ways = [rest[0] if opens else f"^{rest[0]}"]
    if opens:  # a character whose last capitals are the first of the text
        for each, capitals in _several():
            lengths = range(1, min(len(text), len(capitals) - 1) + 1)
            ways += [_class(each) + rest[length] for length in lengths if capitals.endswith(text[:length])]
    if kind == "contains":
        ways += [_class(each) for each, capitals in _several() if text in capitals[1:-1]]
    return _either(ways)


def _within(left: str) -> list[tuple[str, str]]:
    """What the text can begin with, and the characters that are that in capitals."""
    found = [(left[0], _single().get(left[0], left[0]))]
    for each, capitals in _several():
        if left.startswith(capitals):
            found.append((capitals, each))
    return found


@cache
def _single() -> dict[str, str]:
    """For each capital letter of ASCII, the characters that it is the capital of, itself among them."""
    found = {letter: letter for letter in string.ascii_uppercase}
    for character in _CHARACTERS:
        if character.upper() in found and character not in found:
            found[character.upper()] += character
    return found


@cache
def _several() -> tuple[tuple[str, str], ...]:
    """Characters with several capitals, an ASCII letter among them."""
    found = ((each, each.upper()) for each in _CHARACTERS)
    return tuple((each, capitals) for each, capitals in found if len(capitals) > 1 and _LETTERS & set(capitals))


_LETTERS = frozenset(string.ascii_uppercase)
_CHARACTERS = tuple(map(chr, range(0x10000)))  # no character beyond has a capital of ASCII


def _class(characters: str) -> str:
    codes = "".join(each if each.isascii() and each.isalnum() else f"\\x{{{ord(each):x}}}" for each in characters)
    return f"[{codes}]" if len(characters) > 1 else codes


def _either(ways: list[str]) -> str:
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"

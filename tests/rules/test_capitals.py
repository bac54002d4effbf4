"""Patterns of what is a text in capitals, against Python's capitals of every character that has some in ASCII."""

import re
import sys

import pytest

from muster.rules.capitals import capitals_pattern
from muster.rules.conditions import TextTestKind

TESTS = {"equals": str.__eq__, "contains": str.__contains__, "starts with": str.startswith, "ends with": str.endswith}
SEARCHED = [*"AFHIKLNST", "SS", "ST", "FF", "FI", "FFI", "FFL", "AN", "JA", "SFF", ""]
TELLING = [chr(code) for code in range(sys.maxunicode + 1) if set(chr(code).upper()) & set("AFHIJKLNSTWY")]


def test_all_of_them_are_known() -> None:
    """Capitals of ASCII are those of characters below 0x10000 only."""
    assert len(TELLING) > 30
    assert max(TELLING) < "\U00010000"


@pytest.mark.parametrize("kind", TESTS)
def test_characters_beside_each_other(kind: TextTestKind) -> None:
    """One alone, two, and two with something after them."""
    candidates = [first + second + third for first in TELLING for second in ["", *TELLING] for third in ("", "s", "x")]
    for text in SEARCHED:
        pattern = capitals_pattern(kind, text)
        assert pattern is not None
        python = re.sub(r"\\x\{([0-9a-f]+)\}", lambda code: re.escape(chr(int(code[1], 16))), pattern)
        matches = re.compile(python.replace(r"\z", r"\Z")).search
        for candidate in candidates:
            assert bool(matches(candidate)) == TESTS[kind](candidate.upper(), text), (kind, text, candidate)


def test_what_has_too_many_origins_is_left_to_python() -> None:
    """Every other pair of S can be a ß."""
    assert capitals_pattern("equals", "S" * 8) is not None
    assert capitals_pattern("equals", "S" * 80) is None

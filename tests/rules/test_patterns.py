"""Regular expressions: RE2 gives Python's answer, or the pattern is refused."""

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.rules.patterns import compile_pattern, portable_pattern, translate_pattern

ATOMS = st.sampled_from(
    [
        "a",
        "k",
        "S",
        r"\d",
        r"\w",
        r"\s",
        r"\W",
        r"\D",
        r"\S",
        ".",
        "[a-c]",
        "[^k]",
        "é",
        r"\n",
        r"[^\d]",
        r"\.",
        "\u212a",
        "[k-s]",
    ]
)
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{1,2}", "*?", "{2}", "{,2}"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
        inner.map(lambda one: f"^{one}"),
        st.tuples(inner, st.sampled_from(["$", r"\Z"])).map("".join),
    ),
    max_leaves=6,
)
FLAGS = st.sampled_from(["", "", "(?i)", "(?s)", "(?a)", "(?m)", "(?ia)"])
TEXTS = st.text(st.sampled_from("akKbcsSé\n .3٣_\u212a\u017fİ\u0131²ßA"), max_size=6)


@settings(max_examples=400, deadline=None)
@given(FLAGS, PATTERNS, st.lists(TEXTS, min_size=5, max_size=5))
def test_re2_gives_the_answer_of_python(flags: str, pattern: str, texts: list[str]) -> None:
    """Over every construct that is not refused, on letters where engines are known to differ."""
    try:
        anchored, floating = (compile_pattern(flags + pattern, anchored=each) for each in (True, False))
    except ValueError:
        return
    for text in texts:
        assert (anchored.search(text) is not None) == (re.match(flags + pattern, text) is not None)
        assert (floating.search(text) is not None) == (re.search(flags + pattern, text) is not None)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a)\1", "refers back"),
        ("(?=a)", "looks ahead"),
        ("(?>a)", "atomic"),
        ("a++", "possessive"),
        (r"\bword", r"write \(\?a\)"),
        ("a$b", "can only end a pattern"),
        ("(?i)é", "as_lower"),
        ("(", "unterminated"),
        ("[[a]", "later Pythons"),
        ("[a&&b]", "later Pythons"),
        ("a{1001}", "RE2 refuses"),
        (r"\w{600}", "too large"),
        ("(" * 31 + ")" * 31, "nested"),
        (r"\)" * 200 + "(" * 200 + ")" * 200, "nested"),
    ],
)
def test_what_re2_cannot_do_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    """The sentence goes to the author."""
    with pytest.raises(ValueError, match=reason):
        translate_pattern(pattern)


@pytest.mark.parametrize("pattern", [r"\[a", r"[\[a]", "[a-z-]", r"a||b", "a--b", "[^]a]", r"[\]a]"])
def test_ordinary_sets_are_not_taken_for_ambiguous_ones(pattern: str) -> None:
    """Only what Python itself warns about is refused."""
    assert compile_pattern(pattern, anchored=False)


def test_a_pattern_that_backtracks_elsewhere_is_linear_here() -> None:
    """Python's matcher would need 2**5000 steps."""
    assert compile_pattern("(a+)+$", anchored=True).search("a" * 5000 + "b") is None


@pytest.mark.parametrize(
    ("pattern", "is_portable"),
    [
        ("gmail", True),
        (r"@gmail\.com$", True),
        (r"^\d{2,4}-[a-z]+$", True),
        ("^a.*b", True),
        ("a.*b", False),  # from every start over all that follows: quadratic
        ("(a|b)", False),
        ("^(a+)+$", False),
        ("^a*b*", False),
        ("a?" * 10, False),  # in 1,024 ways
        (r"(?a)\ba", False),
        ("(?m)^a", False),
        ("a" * 201, False),
        (r"^\w\w\w", False),  # too long, written out
    ],
)
def test_mongodb_is_given_only_what_is_linear_and_the_same_everywhere(pattern: str, is_portable: bool) -> None:
    """The rest runs on RE2 in Python."""
    assert (portable_pattern(pattern, anchored=False) is not None) is is_portable


def test_lower_case_of_other_letters_is_ascii_for_two_only() -> None:
    """What the filter for `.as_lower` rests on, for the Unicode of the running Python."""
    others = (chr(code) for code in range(128, sys.maxunicode + 1))
    found = {other: other.lower() for other in others if any(letter.isascii() for letter in other.lower())}
    assert found == {"İ": "i\u0307", "\u212a": "k"}

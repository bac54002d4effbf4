"""Rules meant to do harm: each is refused with Muster's own error, before anything of it is built."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.rules import RuleError, Span, compile_rule, oracle, plan_rule, read_rule
from tests.rules.engines import NOW, REGISTRY, read_or_refuse
from tests.rules.test_agreement import rules

HOSTILE = {
    "a range that fills memory": "$range(3000000).length > 0",
    "a range, called by parts": "$any($range(1, 300000000, 1))",
    "a shift of a hundred million bits": "(1<<1e8)>0",
    "a shift to the right": "(1 >> 5) == lead.score",
    "a power tower": "9 ** 9 ** 9 ** 9 > lead.score",
    "a power of a field": "lead.score ** lead.score > 1",
    "nested comprehensions": "[[[w for w in lead.tags] for x in lead.tags] for y in lead.tags].length > 0",
    "a comprehension over a comprehension": "$any([y for y in [x for x in lead.tags]])",
    "map": "$map($abs, lead.points).length > 0",
    "filter": "$filter($any, lead.points).length > 0",
    "random": "$random(5) > 3",
    "random without a call": "$random > 3",
    "groups of a match": "$re_groups[0] == 'a'",
    "a private attribute": "lead.__class__ == null",
    "a dunder chain": '__init__.__globals__["os"].system("true")',
    "a dunder on a text": "lead.status.__class__.__mro__ == null",
    "a dunder on a variable": "$any([x.__class__ for x in lead.tags])",
    "a private name": "_secret == 1",
    "encode": "lead.status.encode('base64') == b'x'",
    "decode": "b'41'.decode('hex') == lead.status",
    "encode of a variable": "$any([x.encode('utf-8') for x in lead.tags])",
    "bytes": "b'41' == lead.status",
    "a mapping": '{"a": 1}["a"] == lead.score',
    "a number with a huge exponent": "lead.score < 1e999999999",
    "a number with a tiny exponent": "lead.score > 1e-999999999",
    "a number with a million digits": f"lead.score < {'9' * 1_000_000}",
    "a hexadecimal number with many digits": f"lead.score < 0x{'f' * 5000}",
    "not a number": "lead.score == nan",
    "infinity": "lead.score < inf",
    "text to number": "lead.status.to_int > 5",
    "parsing a number": "$parse_float(lead.status) > 5",
    "parsing a date": "$parse_datetime(lead.status) > $now",
    "a duration that overflows": 't"P999999999999D" > t"P1D"',
    "a date that overflows": 'lead.created_at > d"9999-12-31T23:59:59-05:00"',
    "a date that underflows": 'lead.created_at > d"0001-01-01T00:00:00+05:00"',
    "now pushed out of the calendar": 'd"9999-12-31" + t"P2D" > lead.created_at',
    "900 levels of not": "not " * 900 + "lead.active",
    "900 levels of minus": "-" * 900 + "1 > lead.score",
    "900 levels of parentheses around arithmetic": "(" * 900 + "lead.score" + "+1)" * 900 + " > 1",
    "900 terms of a sum": "lead.score" + " + 1" * 900 + " > 1",
    "900 levels of choice": "lead.active ? 1 : " * 900 + "1",
    "900 levels of list": "lead.score in " + "[" * 900 + "1" + "]" * 900,
    "alternating and, or": "(lead.active and (lead.active or " * 100 + "lead.active" + "))" * 100,
    "too many words": "lead.score in [" + "1," * 20_000 + "1]",
    "too much text": 'lead.status == "' + "x" * 2_000_000 + '"',
    "a regular expression that backtracks, on a constant": f'"{"a" * 100}b" =~ "(a+)+$"',
    "a regular expression that backtracks, on a computed constant": f'("{"A" * 100}").as_lower =~~ "(a+)+$"',
    "a computed regular expression": "lead.status =~ lead.name",
    "a regular expression out of two": 'lead.status =~ ("(a+" + ")+$")',
    "a regular expression that refers back": r'lead.status =~ r"(a+)\1"',
    "a regular expression that looks ahead": 'lead.status =~ "(?=a)b"',
    "a regular expression that looks behind": 'lead.status =~ "(?<!a)b"',
    "a regular expression that is atomic": 'lead.status =~ "(?>a+)b"',
    "a regular expression that is possessive": 'lead.status =~ "a++b"',
    "a regular expression with huge repeats": 'lead.status =~ "((a{1000}){1000}){1000}"',
    "a regular expression with an overflowing repeat": 'lead.status =~ "a{99999999999999999999}"',
    "a regular expression nested deeply": 'lead.status =~ "' + "(" * 400 + ")" * 400 + '"',
    "a long regular expression": 'lead.status =~ "' + "a" * 5_000 + '"',
    "regular expressions without end": " or ".join(f"lead.status =~ '^{number}.*b'" for number in range(180)),
    "a regular expression with an ambiguous set": 'lead.status =~ "[[a]"',
    "a regular expression that is none": 'lead.status =~ "("',
    "half of a surrogate pair": 'lead.status == "\\ud800"',
    "half of a surrogate pair, as it stands": 'lead.status == "\ud800"',
    "a truncated escape": 'lead.status == "\\x4"',
    "division by zero": "1 / 0 > lead.score",
    "a remainder too large": "1e300 % 7 == lead.score",
    "an unclosed quote": 'lead.status == "' + "x" * 100_000,
    "a NUL": "lead.score \x00 > 1",
    "nothing": "",
    "blanks": " \n\t ",
    "only a comment": "# nothing",
    "a reserved word": "lead.score > 5 while true",
    "a call of a field": "lead.score(5)",
    "a call of a call": "$abs(1)(2)",
    "a call of a literal": "'x'(5)",
    "a variable out of place": "[x for x in lead.tags] == x",
    "a part as a variable": "$any([lead for lead in lead.tags])",
    "a part as a value": "lead + 1 > 2",
    "an index into a part": 'lead["__class__"]',
    "$where": "$where('sleep(1000)')",
    "$function": "$function",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_refused_with_a_place_and_a_sentence(text: str) -> None:
    """Only `RuleError`, and every problem says where and what."""
    with pytest.raises(RuleError) as caught:
        read_rule(text, REGISTRY)
    for problem in caught.value.problems:
        assert problem.detail.endswith((".", "…"))
        assert problem.span is not None or len(text) > 1_000_000
        assert len(problem.detail) < 400


@pytest.mark.parametrize(
    "text",
    [
        "lead.score > 0" + " or lead.score > 0" * 320,
        "lead.score > 0" + " and lead.score > 0" * 320,
        "(" * 900 + "lead.score > 0" + ")" * 900,
        "lead.score in [" + ", ".join(map(str, range(980))) + "]",
        'lead.status =~ "(a+)+$"',
        'lead.status == "' + "x" * 300_000 + '"',
    ],
    ids=["320 or", "320 and", "parentheses", "a list of 980", "a pattern that would backtrack", "a long text"],
)
def test_large_but_harmless_is_read_and_runs(text: str) -> None:
    """Limits are not so low that a long list of values or a generated rule is refused."""
    rule = read_rule(text, REGISTRY)
    profile = {"lead": {"score": 1, "status": "a" * 5000 + "b"}}
    assert oracle(rule)(profile, NOW) == compile_rule(rule)(profile, NOW)
    assert plan_rule(rule).match_at(NOW)


def test_not_every_problem_is_told_at_once() -> None:
    """Each unknown name is compared with all that are known: what is told is bounded, and so is what it costs."""
    text = " or ".join(f"lead.scor{number} > 5" for number in range(200))
    tree = {"any": [{"expression": f"lead.score > {number} )"} for number in range(300)]}
    for source in (text, tree):
        refused = read_or_refuse(source)
        assert isinstance(refused, RuleError)
        assert len(refused.problems) == 20


@given(st.text(alphabet="a\n ", max_size=30), st.text(alphabet="\n #", max_size=10))
def test_a_place_counts_its_lines(before: str, after: str) -> None:
    """Lines and columns from one table are those that counting gives."""
    newlines = "\n" * before.count("a")
    text = f"{newlines}lead.active and{after or ' '}\nlead.scor > 5"
    refused = read_or_refuse(text)
    assert isinstance(refused, RuleError)
    span = refused.problems[0].span
    assert span is not None
    assert span == Span.within(text, span.start, span.end)


WORDS = st.sampled_from(
    [
        *("lead.score", "lead.status", "lead.tags", "lead", "contact.email", "x", "$now", "$abs(", "$any(", "(", ")"),
        *("[", "]", "{", "}", ",", ":", "?", "??", ".", "&.", ".length", ".as_lower", "==", "!=", "<", "=~", "!~", "+"),
        *(
            "-",
            "/",
            "%",
            "**",
            "<<",
            "&",
            "and",
            "or",
            "not",
            "in",
            "for",
            "if",
            "true",
            "null",
            "nan",
            "0",
            "1",
            "1e400",
        ),
        *("'a'", "r'\\d'", "b'a'", "d'2026-01-01'", "t'P1D'", "#c", "\n", "é", "@", "'(a+)+$'", "$in_cohort("),
    ]
)


def _only_rule_errors(text: str) -> None:
    rule = read_or_refuse(text)
    if isinstance(rule, RuleError):
        assert rule.problems
        return
    profile = {"lead": {"score": 1, "status": "a", "tags": ["a"]}}
    assert oracle(rule)(profile, NOW) == compile_rule(rule)(profile, NOW)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=14).map(" ".join))
def test_no_sequence_of_words_raises_anything_else(text: str) -> None:
    """Grammar-aware fuzzing: words of the language in any order."""
    _only_rule_errors(text)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_no_text_raises_anything_else(text: str) -> None:
    """Fuzzing by characters."""
    _only_rule_errors(text)


@settings(max_examples=200, deadline=None)
@given(rules(), st.data())
def test_no_damaged_rule_raises_anything_else(text: str, data: st.DataObject) -> None:
    """A good rule with a piece cut out and something else put in."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 6)))
    _only_rule_errors(text[:start] + data.draw(WORDS | st.text(max_size=3)) + text[end:])

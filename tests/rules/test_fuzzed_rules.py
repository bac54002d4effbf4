"""A slice of `make fuzz`: whatever is put in, only `RuleError` comes out, and what is read runs."""

from itertools import islice

from muster.rules import RuleError, compile_rule, oracle, plan_rule
from tests.rules.engines import NOW, read_or_refuse
from tests.rules.fuzzing import Fuzz

PROFILE = {"lead": {"score": 1.0, "status": "a", "tags": ["a"]}}


def test_only_rule_errors_and_the_same_answer() -> None:
    """Over every kind of fuzz; many are read, many are refused."""
    refused = 0
    for kind, source in islice(Fuzz(1), 2_500):
        rule = read_or_refuse(source)
        if isinstance(rule, RuleError):
            refused += 1
            assert rule.problems, kind
            continue
        assert plan_rule(rule).match_at(NOW) is not None
        assert oracle(rule)(PROFILE, NOW) == compile_rule(rule)(PROFILE, NOW), source
    assert 800 < refused < 2_300

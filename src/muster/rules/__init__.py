"""The rule language: pure, no I/O, imports nothing else of Muster.

Four passes, plain functions: **read** (text or tree → condition with spans) → **check** (fields, types, limits) →
**plan** (what MongoDB decides, what Python checks afterwards, and why) → **compile** (a `$match`, and a predicate).
What a rule means is decided by `oracle`; everything else must agree with it.
"""

from muster.rules.access import PROFILE_ID, AccessPath, Branch, Use
from muster.rules.explaining import Explanation, explain
from muster.rules.fields import PARTS, FieldType, Registry
from muster.rules.functions import Function, FunctionError, known_functions
from muster.rules.keys import Key, key_of, values_at
from muster.rules.oracle import IN_COHORTS, oracle
from muster.rules.planning import Piece, Plan, plan_rule
from muster.rules.predicates import compile_rule
from muster.rules.problems import Problem, RuleError, Span
from muster.rules.reading import Rule, cohorts_in, read_rule
from muster.rules.windows import Window, intervals, turned_between

__all__ = [
    "IN_COHORTS",
    "PARTS",
    "PROFILE_ID",
    "AccessPath",
    "Branch",
    "Explanation",
    "FieldType",
    "Function",
    "FunctionError",
    "Key",
    "Piece",
    "Plan",
    "Problem",
    "Registry",
    "Rule",
    "RuleError",
    "Span",
    "Use",
    "Window",
    "cohorts_in",
    "compile_rule",
    "explain",
    "intervals",
    "key_of",
    "known_functions",
    "oracle",
    "plan_rule",
    "read_rule",
    "turned_between",
    "values_at",
]

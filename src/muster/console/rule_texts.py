"""The words of the rule editor, for its scripts: they get them with the page, in the language of the page."""

import json
from collections.abc import Callable

from muster.console.languages import gettext as _


def editor_texts() -> str:
    """All of them, as JSON."""
    return json.dumps({**_frame(), **_visual(), **_values()}, ensure_ascii=False)


def _frame() -> dict[str, object]:
    return {
        "rule": _("Rule"),
        "counting": _("Counting …"),
        "empty": _("Write a rule, and who matches it appears here."),
        "incomplete": _("A condition is not complete yet."),
        "wrong": _("The rule is not right yet."),
        "unreachable": _("Muster does not answer. Try again in a moment."),
        "signedOut": _("Your session has ended. Sign in again in another tab; what you wrote stays here."),
        "error": _("Error:"),
        "warning": _("Careful:"),
        "replaceBy": _("Put %s there"),
        "showPlace": _("Show the place"),
        "nowVisual": _("Shown as conditions."),
        "nowText": _("Shown as text."),
        "staysText": _(
            "The text is not right yet, so it cannot be shown as conditions. Its errors are listed below it."
        ),
        "staysVisual": _("A condition is not right yet, so the rule cannot be shown as text."),
        "phrases": {
            "Completions": _("Completions"),
            "Diagnostics": _("Problems"),
            "No diagnostics": _("No problems"),
            "current match": _("current match"),
        },
    }


def _visual() -> dict[str, object]:
    return {
        "groups": {"all": _("All of these hold"), "any": _("Any of these holds"), "not": _("This does not hold")},
        "groupKind": _("How the conditions count"),
        "emptyGroup": _("No conditions yet."),
        "addCondition": _("Add condition"),
        "addGroup": _("Add group"),
        "addText": _("Add as text"),
        "conditionAt": _("Condition %(index)s of %(count)s"),
        "groupAt": _("Group %(index)s of %(count)s"),
        "up": _("Move up"),
        "down": _("Move down"),
        "copy": _("Duplicate"),
        "remove": _("Delete"),
        "undo": _("Undo"),
        "drag": _("Drag to another place"),
        "undone": _("Undone."),
        "moved": _("%(what)s was moved; it is number %(index)s of %(count)s now."),
        "copied": _("%(what)s was duplicated."),
        "removed": _("%(what)s was deleted."),
        "dropped": _("It was moved."),
        "field": _("Field"),
        "chooseField": _("Choose a field …"),
        "membership": _("Membership in a cohort"),
        "operator": _("Comparison"),
        "expression": _("Condition as text"),
        "parts": {
            "lead": _("Lead"),
            "contact": _("Contact"),
            "customer": _("Customer"),
            "person": _("Person"),
            "company": _("Company"),
        },
        "operators": _operators(),
        "momentOperators": {
            "before": _("is before"),
            "after": _("is after"),
            "lessThanInclusive": _("is at or before"),
            "greaterThanInclusive": _("is at or after"),
        },
        "gaps": {
            "noField": _("Choose a field."),
            "noCohort": _("Choose a cohort."),
            "noValue": _("Give a value."),
            "emptyList": _("Add at least one value."),
            "emptyNot": _("Add a condition, or delete the group."),
        },
    }


def _operators() -> dict[str, str]:
    return {
        "equal": _("is"),
        "notEqual": _("is not"),
        "lessThan": _("is less than"),
        "lessThanInclusive": _("is at most"),
        "greaterThan": _("is more than"),
        "greaterThanInclusive": _("is at least"),
        "before": _("is before"),
        "after": _("is after"),
        "in": _("is one of"),
        "notIn": _("is none of"),
        "contains": _("contains"),
        "doesNotContain": _("does not contain"),
        "startsWith": _("starts with"),
        "endsWith": _("ends with"),
        "matches": _("matches the pattern"),
        "isEmpty": _("is empty"),
        "isNotEmpty": _("is not empty"),
        "between": _("is between"),
        "withinLast": _("is within the last"),
        "moreThanAgo": _("is longer ago than"),
        "inCohort": _("is a member of"),
    }


def _values() -> dict[str, object]:
    return {
        "value": _("Value"),
        "values": _("Values"),
        "lowest": _("From"),
        "highest": _("To"),
        "and": _("and"),
        "amount": _("How long"),
        "unit": _("Unit"),
        "side": _("Before or after"),
        "kind": _("Kind of value"),
        "kinds": {
            "literal": _("a value"),
            "field": _("another field"),
            "null": _("nothing"),
            "now": _("from now"),
            "today": _("from today"),
        },
        "anchors": {
            "now": {"before": _("before now"), "after": _("after now")},
            "today": {"before": _("before today"), "after": _("after today")},
        },
        "units": {
            "seconds": _("seconds"),
            "minutes": _("minutes"),
            "hours": _("hours"),
            "days": _("days"),
            "weeks": _("weeks"),
        },
        "otherField": _("Other field"),
        "yes": _("yes"),
        "no": _("no"),
        "cohort": _("Cohort"),
        "chooseCohort": _("Choose a cohort …"),
        "addValue": _("Add a value"),
        "removeValue": _("Remove %(value)s"),
    }


def because(reason: str) -> str:
    """Why a piece of a plan runs where it does, in the language of the page."""
    main, asked, names = reason.partition("; asked only of profiles with ")
    said = _reason(main)
    if not asked:
        return said
    fields = _(" and ").join(names.split(" and "))
    return _("%(reason)s; asked only of profiles with %(fields)s") % {"reason": said, "fields": fields}


def _reason(reason: str) -> str:
    stands = "the rule of that cohort stands for it"
    if reason.startswith(f"{stands}; "):
        return f"{_('the rule of that cohort stands for it')}; {_reason(reason.removeprefix(f'{stands}; '))}"
    before, after = "MongoDB could decide it, but not the other branch ", " of the same `or`"
    if reason.startswith(before) and reason.endswith(after):
        other = reason.removeprefix(before).removesuffix(after)
        return _("MongoDB could decide it, but not the other branch %(branch)s of the same `or`") % {"branch": other}
    return _(reason)


def reasons(_: Callable[[str], str]) -> list[str]:
    """Every reason that a plan gives, to be found by what collects texts; a test holds them against the rules' own."""
    return [
        _("the rule of that cohort stands for it"),
        _("it is the same for every profile"),
        _("comparing a field with a literal is a query operator, and can use an index"),
        _("`$now` is bound once per run, so this compares a field with a fixed moment"),
        _("comparing two fields is an expression, guarded against missing values"),
        _("a length or a part of a date is an expression, guarded against missing values"),
        _("a list of literals is a query operator, and can use an index"),
        _("looking into a list is a query operator, and can use an index"),
        _("text of more than 500 characters makes too long a pattern for MongoDB"),
        _("too many texts are this one in capitals"),
        _("literal text is searched for as it stands; as a prefix it can use an index"),
        _("this regular expression means the same in every engine, and takes linear time in each"),
        _("this regular expression could differ between engines, or take MongoDB too long"),
        _("what counts as empty is known from the field's type"),
        _("a part that is there is an object"),
        _("with its rule written out, this is too large a filter"),
        _("its members are too many to pass along"),
        _("the members of a static cohort are passed along by their ids"),
        _("arithmetic is decimal in Python and binary in MongoDB"),
        _("arithmetic is decimal in Python and binary in MongoDB, and dividing by zero ends a query"),
        _("sets and bits are computed in Python"),
        _("a comprehension has no twin in MongoDB's query language"),
        _("functions run in Python"),
        _("a regular expression on a computed text runs in Python"),
        _("this attribute of a value is computed in Python"),
        _("indexing runs in Python, where an index out of range is null"),
        _("slicing runs in Python"),
        _("sets are computed in Python"),
        _("a value chosen by a condition is computed in Python"),
        _("this combination of operands is computed in Python"),
        _("no row of the table says that MongoDB decides it exactly"),
    ]

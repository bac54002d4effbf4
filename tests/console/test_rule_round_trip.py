"""A rule as text and as conditions, back and forth: nothing of it is lost, whatever it is."""

import json
from collections import Counter
from typing import Any

from playwright.async_api import Page, expect

from muster.rules import Rule, compile_rule, read_rule
from tests.console.editing import text, write, written
from tests.rules import generation
from tests.rules.engines import NOW, REGISTRY, read_or_refuse
from tests.rules.test_agreement import seeded_profiles

TREES = 400


async def test_random_rules_pass_through_the_conditions_unharmed(editor: Page) -> None:
    """What is shown and not edited is the same tree, or one that was folded and means the same."""
    rules = [rule for rule in map(_read, range(TREES * 2)) if isinstance(rule, Rule)][:TREES]
    assert len(rules) > TREES / 2
    trees = [json.loads(json.dumps(rule.tree)) for rule in rules]
    back = await editor.evaluate("trees => trees.map((tree) => muster.tree.close(muster.tree.open(tree)))", trees)
    profiles = seeded_profiles(40)
    folded = 0
    for rule, tree, came in zip(rules, trees, back, strict=True):
        if came == tree:
            continue
        folded += 1
        again, once = read_rule(came, REGISTRY), read_rule(tree, REGISTRY)
        # The text that the server writes is read as the same conditions.
        assert read_rule(again.text, REGISTRY).tree == read_rule(once.text, REGISTRY).tree, rule.text
        one, other = compile_rule(rule), compile_rule(again)
        assert [one(each, NOW) for each in profiles] == [other(each, NOW) for each in profiles], rule.text
    assert folded < len(rules) / 2


LEAVES: list[dict[str, Any]] = [
    {"field": "lead.score", "operator": "between", "value": [1, 5]},
    {"field": "lead.created_at", "operator": "between", "value": ["2026-01-01T00:00:00Z", "2026-03-01T12:30:00Z"]},
    {"field": "lead.created_at", "operator": "withinLast", "value": {"amount": 30, "unit": "days"}},
    {"field": "lead.last_activity_at", "operator": "moreThanAgo", "value": {"amount": 36, "unit": "hours"}},
    {"field": "lead.name", "operator": "isEmpty"},
    {"field": "lead.tags", "operator": "isEmpty"},
    {"field": "lead.name", "operator": "isNotEmpty"},
    {"field": "lead.status", "operator": "notIn", "value": ["a", "b"]},
    {"field": "lead.tags", "operator": "doesNotContain", "value": "a"},
    {
        "field": "lead.created_at",
        "operator": "lessThanInclusive",
        "value": {"anchor": "today", "offset": -2, "unit": "days"},
    },
    {"field": "lead.score", "operator": "greaterThan", "value": {"field": "customer.lifetime_value"}},
]


async def test_random_conditions_are_found_again_in_their_text(editor: Page) -> None:
    """Conditions → text → conditions: each operator is the one that it was, however deep."""
    built = [*LEAVES, *(_tree(generation.Seeded(seed)) for seed in range(TREES))]
    rules = [read_rule(tree, REGISTRY) for tree in built]
    reread = [json.loads(json.dumps(read_rule(rule.text, REGISTRY).tree)) for rule in rules]
    back = await editor.evaluate("trees => trees.map((tree) => muster.tree.close(muster.tree.open(tree)))", reread)
    assert back[: len(LEAVES)] == LEAVES
    profiles = seeded_profiles(40)
    for tree, rule, came in zip(built, rules, back, strict=True):
        one, other = compile_rule(rule), compile_rule(read_rule(came, REGISTRY))
        assert [one(each, NOW) for each in profiles] == [other(each, NOW) for each in profiles], rule.text
        assert _count(came) == _count(tree), rule.text


def _tree(choices: generation.Seeded, depth: int = 3) -> dict[str, Any]:
    kind = choices.choice(["all", "any", "not", "leaf"]) if depth else "leaf"
    if kind == "leaf":
        return choices.choice(LEAVES)
    if kind == "not":
        inner = _tree(choices, depth - 1)
        return {**inner, "operator": "isNotEmpty"} if inner.get("operator") == "isEmpty" else {"not": inner}
    return {kind: [_tree(choices, depth - 1) for _ in range(choices.integer(2, 4))]}


def _count(tree: dict[str, Any]) -> Counter[str]:
    """How often each operator stands in a tree."""
    text = json.dumps(tree)
    return Counter({each["operator"]: text.count(f'"{each["operator"]}"') for each in LEAVES})


def _read(seed: int) -> Rule | Any:
    return read_or_refuse(generation.rule(generation.Seeded(seed)))


async def test_switching_keeps_the_text_to_the_letter(editor: Page) -> None:
    """Through the editor itself: comments, blanks and quotes stay while nothing is edited; an edit is kept, too."""
    page = editor
    for rule in (
        "lead.score>50\n  and not(contact.country=='US')   # the good ones",
        'lead.score + 1 > 2 or lead.tags or lead.created_at > $now - t"P30D"',
        'lead.name == \'😀\' and (lead.status ?? "x") == "x"',
    ):
        await write(page, rule)
        await page.get_by_role("tab", name="Conditions").click()
        await expect(page.locator(".visual .condition").first).to_be_visible()
        assert await written(page) == rule
        await page.get_by_role("tab", name="Text").click()
        await expect(page.locator("[data-part=text]")).to_be_visible()
        assert await written(page) == rule
    await page.get_by_role("tab", name="Conditions").click()
    await page.get_by_label("How the conditions count").select_option("any")
    built = await written(page)
    await page.get_by_role("tab", name="Text").click()
    await expect(text(page)).to_contain_text('lead.name == "😀") or (')
    assert await written(page) == built, "as it was built"
    await page.get_by_role("tab", name="Conditions").click()
    assert await written(page) == built

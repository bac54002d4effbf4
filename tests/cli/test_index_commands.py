"""`muster rules indexes`: shown as a table, built and dropped on request."""

import json

from muster.records.indexes import ready_fields
from muster.resources import Resources
from tests.cli.test_commands import Muster, printed, with_leads
from tests.cohorts.conftest import drop_field_indexes


async def test_indexes_are_listed_built_and_dropped(muster: Muster, clean: Resources) -> None:
    assert clean.database is not None
    await drop_field_indexes()
    await with_leads(muster)
    printed(await muster("cohorts", "create", "High", "--rule", "lead.score > 28", "--json"))
    try:
        table = (await muster("rules", "indexes")).stdout.splitlines()
        assert table[0].split() == ["Field", "State", "Cohorts", "Size", "Why"]
        assert table[1].split()[:3] == ["lead.score", "suggested", "COH-1"]
        built = printed(await muster("rules", "indexes", "--create", "--json"))
        assert built == {"created": ["lead.score"], "existed": [], "left_out": [], "dropped": []}
        assert await ready_fields() == {"lead.score"}
        listed = json.loads((await muster("rules", "indexes", "--json")).stdout)
        assert [(each["field"], each["state"], each["name"]) for each in listed] == [
            ("lead.score", "ready", "rule_lead.score")
        ]
        named = await muster("rules", "indexes", "--create", "--field", "lead.name")
        assert named.exit_code == 1
        assert "No rule of these cohorts could use an index on lead.name" in named.stderr
        assert (await muster("rules", "indexes", "--field", "lead.score")).exit_code == 2
        kept = await muster("rules", "indexes", "--drop-unused")
        assert [line.split() for line in kept.stdout.splitlines() if "dropped" in line] == [["dropped"]]
    finally:
        await drop_field_indexes()

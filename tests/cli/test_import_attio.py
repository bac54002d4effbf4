"""`muster import attio`, as a person calls it; nobody works on its jobs here (that is in `test_new_user.py`)."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import Result

from muster.jobs.documents import Job
from muster.records.documents import RollPiece
from muster.sandbox.attio import KEY, AttioSandbox

Muster = Callable[..., Awaitable[Result]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "companies, people or list"),
        (("deals",), "deals"),
        (("list",), "muster attio lists"),
        (("people", "--filter", "{"), "no JSON"),
        (("people", "--filter", "[1]"), "is an object"),
    ],
)
async def test_what_is_wrong_is_told_before_anything_is_asked(
    muster: Muster, arguments: tuple[str, ...], said: str
) -> None:
    refused = await muster("import", "attio", *arguments)
    assert (refused.exit_code, said in refused.stderr) == (2, True)


async def test_options_become_the_import(muster: Muster, attio: AttioSandbox, tmp_path: Path) -> None:
    assert attio.webhooks == []
    unconnected = await muster("import", "attio", "people")
    assert (unconnected.exit_code, "is not connected" in unconnected.stderr) == (1, True)
    assert (await muster("attio", "connect", input=f"{KEY}\n")).exit_code == 0

    name = ("--save-as-cohort", "Beta testers", "--no-wait", "--json")
    begun = await muster("import", "attio", "people", "--filter", '{"job_title": "Engineer"}', *name)
    assert begun.exit_code == 0, begun.output
    job = await Job.get(json.loads(begun.stdout)["id"])
    assert job is not None
    assert job.arguments["save_as_cohort"] == {"name": "Beta testers", "description": ""}
    assert json.loads(job.arguments["filter"]) == {"job_title": "Engineer"}

    ids = tmp_path / "ids"
    ids.write_text("one\ntwo\n\n")
    assert (await muster("import", "attio", "companies", "--ids", f"@{ids}", "--no-wait")).exit_code == 0
    assert [piece.pii_ids for piece in await RollPiece.find({}).to_list()] == [["one", "two"]]
    refresh = await muster("import", "attio", "list", "--refresh", "--no-wait", "--json")
    refreshing = await Job.get(json.loads(refresh.stdout)["id"])
    assert refreshing is not None
    assert refreshing.arguments["rows"] == {"attio_object_type": "list_entry"}
    both = await muster("import", "attio", "people", "--q", "ada", "--ids", "one")
    assert (both.exit_code, "/record_ids" in both.stderr) == (1, True)

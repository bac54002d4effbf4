"""The feature commands: data on stdout, the rest on stderr, exit codes a script can trust."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from click.testing import Result

from muster.jobs import service as jobs_service
from muster.jobs.documents import Job
from muster.resources import Resources
from muster.settings import bundled

Muster = Callable[..., Awaitable[Result]]

LEADS = "".join(
    json.dumps({"pii_id": f"P{index}", "lead": {"score": index, "name": f"=Lead {index}"}}) + "\n"
    for index in range(30)
)


def printed(result: Result) -> object:
    """The JSON on stdout of a command that did well."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def with_leads(muster: Muster) -> None:
    assert (await muster("import", "profiles", "-", "--format", "ndjson", input=LEADS)).exit_code == 0


async def test_import_from_files_and_pipes(muster: Muster, tmp_path: Path) -> None:
    file = tmp_path / "leads.ndjson"
    file.write_text(LEADS)
    report = printed(await muster("import", "profiles", str(file), "--json"))
    assert report == {"upserted": 30, "unchanged": 0, "failed_count": 0, "failed": []}
    again = await muster("import", "profiles", str(file))
    assert again.stdout.split() == ["upserted", "30", "unchanged", "30", "failed_count", "0"]
    table = tmp_path / "leads.csv"
    table.write_text("pii_id,lead.score,lead.status\nP1,77,new\nP2,many,new\n")
    some_failed = await muster("import", "profiles", str(table))
    assert some_failed.exit_code == 1
    assert some_failed.stderr.startswith("line 3: ")
    unknown = await muster("import", "profiles", "-", input=LEADS)
    assert unknown.exit_code == 2
    assert "--format" in unknown.stderr


async def test_the_life_of_a_cohort(muster: Muster) -> None:
    await with_leads(muster)
    made = printed(await muster("cohorts", "create", "High", "--rule", "lead.score >= 20", "--json"))
    assert isinstance(made, dict)
    assert (made["member_count"], made["state"], made["kind"]) == (10, "ready", "dynamic")
    cohort = made["id"]
    assert printed(await muster("cohorts", "show", cohort, "--json")) == made
    listed = printed(await muster("cohorts", "list", "--json"))
    assert listed == [made]
    table = (await muster("cohorts", "list")).stdout.splitlines()
    assert table[1].split() == [cohort, "High", "dynamic", "10", "ready", "lead.score", ">=", "20"]
    members = printed(await muster("cohorts", "members", cohort, "--limit", "3", "--order", "id", "--json"))
    assert isinstance(members, list)
    assert len(members) == 3
    evaluated = printed(await muster("cohorts", "evaluate", cohort, "--json"))
    assert evaluated == {"added": 0, "removed": 0, "member_count": 10}
    jobs = printed(await muster("jobs", "list", "--json"))
    assert isinstance(jobs, list)
    assert {job["state"] for job in jobs} == {"succeeded"}
    shown = printed(await muster("jobs", "show", jobs[0]["id"], "--wait", "--json"))
    assert shown == jobs[0]


async def test_the_history_of_a_cohort(muster: Muster) -> None:
    await with_leads(muster)
    made = printed(await muster("cohorts", "create", "High", "--rule", "lead.score >= 20", "--static", "--json"))
    assert isinstance(made, dict)
    cohort = made["id"]
    changes = await muster("cohorts", "changes", cohort)
    assert (changes.exit_code, changes.stdout, changes.stderr) == (0, "", "Nothing found.\n")
    runs = printed(await muster("cohorts", "runs", cohort, "--state", "succeeded", "--json"))
    assert isinstance(runs, list)
    assert [(run["added"], run["member_count"]) for run in runs] == [(10, 10)]
    sizes = printed(await muster("cohorts", "size", cohort, "--points", "5", "--json"))
    assert isinstance(sizes, dict)
    assert [point["size"] for point in sizes["items"]] == [10]
    lines = (await muster("cohorts", "size", cohort, "--from", "2020-01-01T00:00:00Z")).stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["Members", "0", "10"]
    then = await muster("cohorts", "members", cohort, "--at", "2020-01-01T00:00:00Z", "--json")
    assert printed(then) == []


async def test_why_somebody_is_in_or_not(muster: Muster) -> None:
    await with_leads(muster)
    rule = 'lead.score >= 20 and contact.country != "US"'
    made = printed(await muster("cohorts", "create", "High", "--rule", rule, "--json"))
    assert isinstance(made, dict)
    lines = (await muster("cohorts", "explain", made["id"], "P7")).stdout.splitlines()
    assert lines == [
        "P7 is not a member; the rule does not hold now.",
        f"✗ {rule}",
        "  ✗ lead.score >= 20  (7.0)",
        '  ✓ contact.country != "US"  (missing)',
    ]
    inside = printed(await muster("cohorts", "explain", made["id"], "P20", "--json"))
    assert isinstance(inside, dict)
    assert (inside["member"], inside["matches"]) == (True, True)
    assert [child["actual"] for child in inside["conditions"]["children"]] == [20, None]
    by_hand = printed(await muster("cohorts", "create", "One", "--member", "P1", "--json"))
    assert isinstance(by_hand, dict)
    for cohort, pii_id in ((by_hand["id"], "P1"), (made["id"], "P999"), ("COH-999", "P1")):
        assert (await muster("cohorts", "explain", cohort, pii_id)).exit_code == 1


async def test_exports_are_whole_and_run_no_formulas(muster: Muster, tmp_path: Path) -> None:
    await with_leads(muster)
    made = printed(await muster("cohorts", "create", "All", "--rule", "lead.score >= 0", "--json"))
    assert isinstance(made, dict)
    exported = await muster("cohorts", "export", made["id"], "--fields", "lead.name,entered_at")
    lines = exported.stdout.splitlines()
    assert lines[0] == "pii_id,lead.name,entered_at"
    assert sorted(line.split(",")[0] for line in lines[1:]) == sorted(f"P{index}" for index in range(30))
    assert all(line.split(",")[1].startswith("'=Lead") for line in lines[1:])
    for file_format in ("csv", "ndjson"):
        file = tmp_path / f"all.{file_format}"
        result = await muster("cohorts", "export", made["id"], "--format", file_format, "--output", str(file))
        assert result.exit_code == 0, result.stderr
        again = printed(await muster("import", "profiles", str(file), "--json"))
        assert again == {"upserted": 30, "unchanged": 30, "failed_count": 0, "failed": []}
    saved = printed(await muster("import", "profiles", str(file), "--save-as-cohort", "Again", "--json"))
    assert isinstance(saved, dict)
    shown = printed(await muster("cohorts", "show", saved["cohort_id"], "--json"))
    assert isinstance(shown, dict)
    assert (shown["name"], shown["member_count"]) == ("Again", 30)
    refused = await muster("cohorts", "export", made["id"], "--fields", "lead.nmae", "--output", str(tmp_path / "no"))
    assert refused.exit_code == 1
    assert "lead.name" in refused.stderr
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == ["all.csv", "all.ndjson"]


async def test_static_cohorts_and_rules_from_files(muster: Muster, tmp_path: Path) -> None:
    await with_leads(muster)
    by_hand = printed(await muster("cohorts", "create", "Two", "--member", "P1", "--member", "P2", "--json"))
    assert isinstance(by_hand, dict)
    assert (by_hand["kind"], by_hand["member_count"]) == ("static", 2)
    ids = tmp_path / "ids"
    ids.write_text("P3\r\nP4\n\nnobody\n", encoding="utf-8")
    added = await muster("cohorts", "add", by_hand["id"], "P1", "--file", str(ids), "--json")
    assert (added.exit_code, json.loads(added.stdout)) == (
        1,
        {"added": 2, "already": 1, "unknown": ["nobody"], "failed_count": 1},
    )
    removed = await muster("cohorts", "remove", by_hand["id"], "P1", "P3", "--json")
    assert printed(removed) == {"removed": 2, "not_members": [], "failed_count": 0}
    assert (await muster("cohorts", "remove", by_hand["id"])).exit_code == 2
    copy = printed(await muster("cohorts", "create", "Copy", "--from", by_hand["id"], "--json"))
    assert isinstance(copy, dict)
    assert (copy["kind"], copy["member_count"]) == ("static", 2)
    refused = await muster("cohorts", "evaluate", by_hand["id"])
    assert refused.exit_code == 1
    tree = tmp_path / "rule.json"
    tree.write_text('{"field": "lead.score", "operator": "lessThan", "value": 5}')
    frozen = printed(await muster("cohorts", "create", "Few", "--static", "--rule", f"@{tree}", "--json"))
    assert isinstance(frozen, dict)
    assert (frozen["kind"], frozen["member_count"]) == ("static", 5)
    progress = printed(await muster("cohorts", "progress", frozen["id"], "--json"))
    assert progress == {"total": 5, "still_matching": 5, "diverged": 0, "progress_percent": 0.0}


async def test_a_wrong_rule_is_shown_where_it_is_wrong(muster: Muster) -> None:
    for command in (("rules", "check"), ("cohorts", "create", "x", "--rule")):
        result = await muster(*command, "lead.score > 1 and\n  lead.scor > 5")
        assert result.exit_code == 1
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        at = next(number for number, line in enumerate(lines) if "lead.scor > 5" in line)
        assert lines[at + 1] == " " * lines[at].index("lead.scor") + "^" * len("lead.scor")
        assert "Did you mean lead.score?" in lines[at + 2]


async def test_checking_without_an_api(muster: Muster) -> None:
    nowhere = {"MUSTER_PORT": "1"}
    answer = await muster("rules", "check", "lead.score > 5", "--json", env=nowhere)
    checked = printed(answer)
    assert isinstance(checked, dict)
    assert (checked["valid"], checked["entity_scope"]) == (True, ["lead"])
    assert "built-in fields" in answer.stderr
    files = sorted(str(path) for path in (bundled("rules") / "cohorts").glob("*.yaml"))
    every = await muster("rules", "check", *files, env=nowhere)
    assert every.exit_code == 0
    assert every.stdout.splitlines() == [f"{file}: right" for file in files]
    elsewhere = await muster("rules", "check", "lead.score > 5", "--project", "PRJ-1", env=nowhere)
    assert elsewhere.exit_code == 1
    assert "`muster up` starts one" in elsewhere.stderr


async def test_what_is_not_there_or_not_allowed_is_one_sentence(muster: Muster) -> None:
    for arguments, words in (
        (("cohorts", "show", "COH-9"), "COH-9"),
        (("jobs", "show", "RUN-9"), "RUN-9"),
        (("jobs", "cancel", "RUN-9"), "RUN-9"),
    ):
        result = await muster(*arguments)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert words in result.stderr
        assert "Traceback" not in result.output
    no_token = await muster("cohorts", "list", env={"MUSTER_TOKEN": ""})
    assert no_token.exit_code == 1
    assert "MUSTER_TOKEN" in no_token.stderr
    bad_token = await muster("cohorts", "list", env={"MUSTER_TOKEN": "x.y.z"})
    assert bad_token.exit_code == 1
    assert (await muster("cohorts", "show")).exit_code == 2


async def test_a_job_is_cancelled(muster: Muster, clean: Resources) -> None:
    assert clean.database is not None
    job = await jobs_service.create_job("RUN", "evaluate", "PRJ-1", "ada", {"cohort_id": "COH-1"})
    result = await muster("jobs", "cancel", job.id)
    assert (result.exit_code, result.stderr) == (0, f"{job.id} is cancelled.\n")
    found = await Job.get(job.id)
    assert found is not None
    assert found.state == "cancelled"
    waited = await muster("jobs", "show", job.id, "--wait")
    assert waited.exit_code == 1, "a script that waits learns that nothing came of it"


async def test_the_demo_and_its_cohorts(muster: Muster) -> None:
    result = await muster("demo", "--profiles", "600", "--json")
    report = printed(result)
    assert isinstance(report, dict)
    assert (report["upserted"], report["failed_count"]) == (600, 0)
    files = list((bundled("rules") / "cohorts").glob("*.yaml"))
    assert f"Cohorts: {len(files)} created" in result.stderr
    found = printed(await muster("cohorts", "list", "--json"))
    assert isinstance(found, list)
    assert len(found) == len(files)
    assert all(cohort["managed_by"] == "file" for cohort in found)
    assert all(0 < cohort["member_count"] < 300 for cohort in found), "each finds some, none finds all"
    again = await muster("demo", "--once")
    assert "already" in again.stderr


async def test_cohort_files_are_applied_to_whom_they_are_for(muster: Muster, tmp_path: Path) -> None:
    file = tmp_path / "files" / "high.yaml"
    file.parent.mkdir()
    file.write_text("key: high\nname: High\nkind: dynamic\nrule: lead.score > 20\n")
    applied = printed(await muster("rules", "apply", str(file.parent), "--owner", "ada", "--json"))
    assert applied == {"created": ["high"], "updated": [], "unchanged": [], "released": []}
    again = printed(await muster("rules", "apply", str(file.parent), "--owner", "ada", "--json"))
    assert isinstance(again, dict)
    assert again["unchanged"] == ["high"]
    file.write_text("key: high\nname: High\nkind: dynamic\nrule: lead.scor > 20\n")
    wrong = await muster("rules", "apply", str(file.parent), "--owner", "ada")
    assert wrong.exit_code == 1
    assert "high.yaml" in wrong.stderr

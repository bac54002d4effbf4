"""A slice of the kills of `make faults` amid assignments."""

from datetime import UTC, datetime
from pathlib import Path
from random import Random

from muster.projects.documents import Project
from muster.resources import Resources
from tests.faults.assigning import suffer


async def test_every_lead_is_handed_over_once_whatever_is_killed(clean: Resources, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    project = Project(id="PRJ-1", owner="ada", name="Test", is_default=True, created_at=now, updated_at=now)
    await project.insert()
    killed = await suffer(clean, project, tmp_path, Random(4), leads=1_500, kills=2)
    assert killed.kills == 2
    assert max(killed.attempts) > 1

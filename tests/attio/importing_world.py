"""A project that is connected with a sandbox, for tests of imports: jobs run here, files and commits are read."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from muster.attio import connection, imports
from muster.attio.documents import AttioImport, ImportPiece
from muster.attio.import_schemas import ImportIn
from muster.attio.importing import run_job
from muster.errors import MusterError
from muster.jobs.documents import Job
from muster.projects.service import project_of
from muster.records.documents import Profile
from muster.resources import Resources
from muster.sandbox.attio import KEY, AttioSandbox
from muster.sandbox.attio_control import control
from muster.sandbox.attio_world import World, generated_world
from muster.sandbox.serving import serving
from muster.settings import Settings

OWNER = "ada"


@dataclass(frozen=True, slots=True)
class Stored:
    """What there is after imports, each by what it has in common with the others: the Attio id, or the profile."""

    files: Mapping[str, dict[str, Any]]
    rows: Mapping[str, AttioImport]
    profiles: Mapping[str, Profile]


@dataclass(slots=True)
class Importing:
    """The project, the sandbox, and the data folder."""

    settings: Settings
    sandbox: AttioSandbox
    address: str
    project_id: str
    at_first: frozenset[str]  # the ids of the companies that Attio began with

    @property
    def root(self) -> Path:
        return self.settings.data_path / "projects" / self.project_id

    async def begin(self, **body: Any) -> Job:
        """Put an import on record; nobody works on it yet."""
        return await imports.begin(OWNER, ImportIn.model_validate(body), self.settings)

    async def do(self, **body: Any) -> Job:
        """Import, and give back the job as it ended, whatever came of it."""
        job = await self.begin(**body)
        with suppress(MusterError):
            await run_job(job.id, self.settings)
        return await self.job(job.id)

    async def job(self, job_id: str) -> Job:
        """A job as it is now."""
        found = await Job.get(job_id)
        assert found is not None
        return found

    async def fault(self, kind: str, **more: Any) -> None:
        """Let something go wrong."""
        async with httpx.AsyncClient() as http:
            answer = await http.post(f"{self.address}/sandbox/faults", json={"kind": kind, **more})
            assert answer.status_code == 200, answer.text

    def git(self, *arguments: str) -> str:
        """What git says of the project's repository."""
        return subprocess.run(
            ["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commits(self) -> list[str]:
        """The hashes of the commits, newest first."""
        if not (self.root / ".git").exists():
            return []
        done = subprocess.run(["git", "log", "--format=%H"], cwd=self.root, check=False, capture_output=True, text=True)
        return done.stdout.split()

    async def stored(self) -> Stored:
        """Everything that there is."""
        files = {}
        for file in await asyncio.to_thread(lambda: sorted(self.root.glob("attio/*/*.json"))):
            says = json.loads(file.read_text())
            assert says["attioRecordId"] not in files, file
            files[says["attioRecordId"]] = says
        rows = await AttioImport.find({"project_id": self.project_id}).to_list()
        profiles = await Profile.find({"project_id": self.project_id}).to_list()
        return Stored(
            files, {row.attio_record_id: row for row in rows}, {profile.pii_id: profile for profile in profiles}
        )


@asynccontextmanager
async def importing(resources: Resources, folder: Path, world: World | None = None) -> AsyncIterator[Importing]:
    """Connected, and nothing imported yet."""
    sandbox = AttioSandbox(world or generated_world(30, 60), rate=10_000, control=control)
    async with serving(sandbox) as address:
        changed = {"attio_base_url": f"{address}/v2", "data_dir": folder}
        settings = resources.settings.model_copy(update=changed)
        project = await project_of(OWNER, None)
        await connection.connect(OWNER, project.id, SecretStr(KEY), settings)
        companies = sandbox.world.objects["companies"]
        at_first = frozenset(companies.row(place)["id"]["record_id"] for place in range(len(companies)))
        yield Importing(settings, sandbox, address, project.id, at_first)


async def pieces(import_id: str) -> list[dict[str, Any]]:
    """What an import brought."""
    found = await ImportPiece.find({"import_id": import_id}).sort("number").to_list()
    return [item for piece in found for item in piece.items]

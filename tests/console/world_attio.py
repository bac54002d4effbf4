"""A project that is connected with the stand-in for Attio, and an import as a worker leaves it: none runs here."""

from collections.abc import Callable
from datetime import UTC, datetime

import httpx

from muster.attio.documents import AttioImport, import_key
from muster.jobs.documents import Job
from muster.jobs.service import create_job
from muster.sandbox.attio import KEY


async def build(api: httpx.AsyncClient, name: Callable[[str], str]) -> str:
    """The id of the import."""
    connected = (await api.put("/v1/attio/connection", json={"api_key": KEY})).json()
    assert connected["connected"], connected
    project = connected["project_id"]
    job = await create_job("IMP", "import", project, "ada", {"source": "people", "list": None, "q": "lind"})
    ended = {
        "state": "succeeded",
        "finished_at": datetime.now(UTC),
        "progress": {"done": 4, "total": 4},
        "result": {"imported": 3, "updated": 0, "unchanged": 0, "failed": 1, "files": 3, "commit": "4f1c22ab90d1"},
        "failures": [{"record_id": "a1b2", "detail": "Its record a1b2 is no company or person that the key may see."}],
    }
    await Job.get_motor_collection().update_one({"_id": job.id}, {"$set": ended})
    for number, state in enumerate(("synced", "pending", "error")):
        row = AttioImport(
            id=import_key(project, "person", f"attio-{number}"),
            project_id=project,
            attio_record_id=f"attio-{number}",
            attio_object_type="person",
            name=name(("Rae Lind", "Sol Lindgren", "Tea Lindqvist")[number]),
            local_file_path=f"attio/person/{'lindqvist-' * 8 if number == 2 else 'lind-'}{number}.json",
            imported_at=datetime.now(UTC),
            sync_status=state,
            sync_error="Attio has merged it into 9f3c." if state == "error" else None,
            pii_id="reader",
            subject_id=f"attio-{number}",
            job_id=job.id,
        )
        await row.insert()
    return job.id

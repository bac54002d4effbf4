"""The connection of a project with an Attio workspace: the key in its file, the workspace pinned."""

from muster.attio.client import AttioClient
from muster.attio.requests import PATIENT, Patience
from muster.settings import Settings


async def client_of(project_id: str, settings: Settings, *, patience: Patience = PATIENT) -> AttioClient:
    """A client (to be entered with `async with`) for a project, with the key as it is in its file now.

    Raises Conflict when the project is not connected, or its key leads to another workspace than the one it is
    pinned to; AttioApiError when Attio does not answer.
    """
    raise NotImplementedError

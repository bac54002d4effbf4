"""What an erasure takes out of experiments: whoever was picked by hand, and every persona and result, also of frozen
runs. A place is all that is left of a persona, so that the results of the others keep theirs.
"""

from collections.abc import Mapping

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.experiments.documents import Experiment, ExperimentRun, Persona, Phase
from muster.experiments.snapshot import ERASURE


async def erase(
    session: AsyncIOMotorClientSession, project_id: str, profile: ObjectId, _pii_id: str
) -> Mapping[str, int]:
    """Take a profile out, within an erasure's transaction; how many personas it was."""
    experiments = Experiment.get_motor_collection()
    await experiments.update_many(
        {"members": profile}, {"$pull": {"members": profile}, "$inc": {"member_count": -1}}, session=session
    )
    # A run that freezes at this moment may have read the profile already: it leaves it out in the end.
    await ExperimentRun.get_motor_collection().update_many(
        {"project_id": project_id, "phase": Phase.FREEZING.value}, {"$addToSet": {"erased": profile}}, session=session
    )
    gone = await Persona.get_motor_collection().update_many({"profile": profile}, ERASURE, session=session)
    return {"personas": gone.modified_count}

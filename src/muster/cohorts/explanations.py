"""Why somebody is in a cohort, or not."""

from muster.cohorts.documents import Membership, generation_id, row_id
from muster.cohorts.evaluation import read_stored
from muster.cohorts.generations import server_time
from muster.cohorts.schemas import ExplanationOut
from muster.cohorts.service import cohort_of
from muster.errors import Conflict, NotFound
from muster.records.documents import Profile
from muster.records.registry import registry
from muster.rules import explain


async def explanation(owner: str, cohort_id: str, pii_id: str) -> ExplanationOut:
    """Every condition of the cohort's rule for one profile as it is now, beside whether it is a member.

    Raises NotFound, and Conflict for a cohort that has no rule.
    """
    cohort = await cohort_of(owner, cohort_id)
    if cohort.rule is None:
        raise Conflict(f"{cohort_id} has no rule: its members were given by hand.")
    profile = await Profile.get_motor_collection().find_one({"project_id": cohort.project_id, "pii_id": pii_id})
    if profile is None:
        raise NotFound(f"There is no profile {pii_id!r} in {cohort.project_id}.")
    member = None
    if cohort.active is not None:
        row = row_id(generation_id(cohort.id, cohort.active.number), profile["_id"])
        member = await Membership.get_motor_collection().find_one({"_id": row, "in": True}, {"_id": 1})
    rule = read_stored(cohort.rule, await registry(cohort.project_id))
    found = explain(rule, profile, await server_time())
    return ExplanationOut(member=member is not None, matches=found.result, conditions=found.as_json())

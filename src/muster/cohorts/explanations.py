"""Why somebody is in a cohort, or not."""

from muster.cohorts.documents import Membership, generation_id, row_id
from muster.cohorts.generations import server_time
from muster.cohorts.graph import inner_rules, read_stored
from muster.cohorts.members import cohort_ids_of
from muster.cohorts.schemas import ExplanationOut
from muster.cohorts.service import cohort_of
from muster.errors import Conflict, NotFound
from muster.records.documents import Profile
from muster.records.registry import registry
from muster.rules import IN_COHORTS, explain


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
    inner = await inner_rules(cohort.project_id, cohort.rule.cohorts)
    rule = read_stored(cohort.rule, await registry(cohort.project_id), inner)
    if rule.looked_up:
        its_own = set(await cohort_ids_of(cohort.project_id, profile["_id"]))
        profile = {**profile, IN_COHORTS: its_own & set(rule.looked_up)}
    found = explain(rule, profile, await server_time())
    return ExplanationOut(member=member is not None, matches=found.result, conditions=found.as_json())

"""What the settings show: the time zones there are, the fields of the registry, webhooks and what they sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from zoneinfo import available_timezones

from muster.api.paging import decode_cursor, page_of
from muster.cohorts.documents import Cohort
from muster.projects.documents import Project
from muster.records.documents import FieldDefinition
from muster.records.registry import fields_of
from muster.webhooks import deliveries, service
from muster.webhooks.documents import DeliveryState, Webhook
from muster.webhooks.schemas import DeliveryOut, WebhookOut

FIELDS_PER_PAGE = 100
WEBHOOKS_SHOWN = 100  # a project has twenty at most
DELIVERIES_PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A field of the registry, and how many rules of the project's cohorts ask for it."""

    field: FieldDefinition
    rules: int


@dataclass(frozen=True, slots=True)
class FieldList:
    """A page of fields, in the order of their names."""

    rows: Sequence[FieldRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """A webhook with the newest of its deliveries."""

    webhook: WebhookOut
    last: DeliveryOut | None


@dataclass(frozen=True, slots=True)
class WebhookDetail:
    """A webhook with a page of its deliveries, the newest first."""

    webhook: WebhookOut
    deliveries: Sequence[DeliveryOut]
    next_cursor: str | None


@cache
def time_zones() -> Sequence[str]:
    """Every IANA time zone, by name."""
    return sorted(available_timezones() | {"UTC"})


async def field_list(project: Project, *, q: str, cursor: str | None) -> FieldList:
    """A page of the fields that profiles of a project may have."""
    after = decode_cursor(cursor, str)[0] if cursor else None
    found = await fields_of(project.id, after, FIELDS_PER_PAGE + 1, q=q)
    fields, following = page_of(found, FIELDS_PER_PAGE, lambda field: (field.name,))
    names = [field.name for field in fields]
    used = Cohort.get_motor_collection().aggregate(
        [
            {"$match": {"project_id": project.id, "rule.fields": {"$in": names}}},
            {"$unwind": "$rule.fields"},
            {"$group": {"_id": "$rule.fields", "rules": {"$sum": 1}}},
        ]
    )
    rules = {each["_id"]: each["rules"] async for each in used}
    return FieldList([FieldRow(field, rules.get(field.name, 0)) for field in fields], following)


async def webhook_rows(project: Project) -> list[WebhookRow]:
    """The webhooks of a project, each with what it sent last."""
    found, _ = await service.list_webhooks(project.owner, project_id=project.id, limit=WEBHOOKS_SHOWN, cursor=None)
    return [WebhookRow(WebhookOut.of(webhook), await _last(webhook)) for webhook in found]


async def _last(webhook: Webhook) -> DeliveryOut | None:
    newest, _ = await deliveries.list_deliveries(webhook.owner, webhook.id, state=None, limit=1, cursor=None)
    return DeliveryOut.of(newest[0]) if newest else None


async def webhook_detail(
    owner: str, webhook_id: str, *, state: DeliveryState | None, cursor: str | None
) -> WebhookDetail:
    """A webhook and a page of its deliveries. Raises NotFound."""
    webhook = await service.webhook_of(owner, webhook_id)
    found, following = await deliveries.list_deliveries(
        owner, webhook_id, state=state, limit=DELIVERIES_PER_PAGE, cursor=cursor
    )
    return WebhookDetail(WebhookOut.of(webhook), [DeliveryOut.of(each) for each in found], following)

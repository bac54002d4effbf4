"""What Attio sends, typed. Liberal where no source settles what may come: keys that are missing or null, ids that are
no UUIDs of version 4, fractions of nine digits. What names a thing, its id, must be there: ValueError without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

READ_SCOPES = (
    "record_permission:read",
    "object_configuration:read",
    "list_configuration:read",
    "list_entry:read",
)
"""What Muster needs a key to be allowed: records, their attributes, lists, entries."""

Values = dict[str, list[dict[str, Any]]]
"""Attribute slug → its values; an empty attribute is `[]`, and one that Attio sent as null is, too."""


@dataclass(frozen=True, slots=True)
class Record:
    """A company or a person. `created_at` is aware UTC, in microseconds."""

    record_id: str
    workspace_id: str | None
    object_id: str | None
    created_at: datetime | None
    web_url: str | None
    values: Values

    @classmethod
    def of(cls, raw: Any) -> "Record":
        """A record as Attio sent it. Raises ValueError without an id."""
        ids = _mapping(_mapping(raw).get("id"))
        return cls(
            record_id=_id(ids, "record_id", "record"),
            workspace_id=_text(ids.get("workspace_id")),
            object_id=_text(ids.get("object_id")),
            created_at=moment(raw.get("created_at")),
            web_url=_text(raw.get("web_url")),
            values=_values(raw.get("values")),
        )


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One entry of a list. The same record may stand in a list more than once; `parent_object` is a slug or a UUID."""

    entry_id: str
    list_id: str | None
    workspace_id: str | None
    parent_record_id: str | None
    parent_object: str | None
    created_at: datetime | None
    entry_values: Values

    @classmethod
    def of(cls, raw: Any) -> "ListEntry":
        """An entry as Attio sent it. Raises ValueError without an id."""
        ids = _mapping(_mapping(raw).get("id"))
        return cls(
            entry_id=_id(ids, "entry_id", "list entry"),
            list_id=_text(ids.get("list_id")),
            workspace_id=_text(ids.get("workspace_id")),
            parent_record_id=_text(raw.get("parent_record_id")),
            parent_object=_text(raw.get("parent_object")),
            created_at=moment(raw.get("created_at")),
            entry_values=_values(raw.get("entry_values")),
        )


@dataclass(frozen=True, slots=True)
class AttioList:
    """A list of the workspace. `parent_objects` are slugs (or UUIDs) of the objects whose records stand in it."""

    list_id: str
    workspace_id: str | None
    api_slug: str
    name: str
    parent_objects: tuple[str, ...]
    created_at: datetime | None

    @classmethod
    def of(cls, raw: Any) -> "AttioList":
        """A list as Attio sent it; without a slug its id takes its place. Raises ValueError without an id."""
        ids = _mapping(_mapping(raw).get("id"))
        list_id = _id(ids, "list_id", "list")
        parents = raw.get("parent_object")
        parents = [parents] if isinstance(parents, str) else parents if isinstance(parents, list) else []
        slug = _text(raw.get("api_slug")) or list_id
        return cls(
            list_id=list_id,
            workspace_id=_text(ids.get("workspace_id")),
            api_slug=slug,
            name=_text(raw.get("name")) or slug,
            parent_objects=tuple(parent for parent in parents if isinstance(parent, str)),
            created_at=moment(raw.get("created_at")),
        )


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of an object or a list: how its values are to be read. `type` may be one that is new to us."""

    attribute_id: str | None
    api_slug: str
    title: str
    description: str | None
    type: str
    is_multiselect: bool
    is_archived: bool
    is_required: bool
    is_unique: bool
    is_writable: bool
    is_system: bool
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, raw: Any) -> "Attribute":
        """An attribute as Attio sent it. Raises ValueError without a slug."""
        raw = _mapping(raw)
        slug = _id(raw, "api_slug", "attribute")
        return cls(
            attribute_id=_text(_mapping(raw.get("id")).get("attribute_id")),
            api_slug=slug,
            title=_text(raw.get("title")) or slug,
            description=_text(raw.get("description")),
            type=_text(raw.get("type")) or "unknown",
            is_multiselect=raw.get("is_multiselect") is True,
            is_archived=raw.get("is_archived") is True,
            is_required=raw.get("is_required") is True,
            is_unique=raw.get("is_unique") is True,
            is_writable=raw.get("is_writable") is not False,
            is_system=raw.get("is_system_attribute") is True,
            config=dict(_mapping(raw.get("config"))),
        )


@dataclass(frozen=True, slots=True)
class AttioWebhook:
    """Whom Attio tells of changes. It shows `secret` once, when the webhook is made."""

    webhook_id: str
    target_url: str | None
    secret: SecretStr | None

    @classmethod
    def of(cls, raw: Any) -> "AttioWebhook":
        """A webhook as Attio sent it. Raises ValueError without an id."""
        raw = _mapping(raw)
        secret = _text(raw.get("secret"))
        return cls(
            webhook_id=_id(_mapping(raw.get("id")), "webhook_id", "webhook"),
            target_url=_text(raw.get("target_url")),
            secret=SecretStr(secret) if secret else None,
        )

    @classmethod
    def of_answer(cls, raw: Any) -> "AttioWebhook":
        """The one in `data`."""
        return cls.of(_mapping(raw).get("data"))


@dataclass(frozen=True, slots=True)
class Self:
    """Whose key it is, and what it may. An unknown or revoked key is answered with 200 and `active` false."""

    active: bool
    scopes: tuple[str, ...] = ()
    workspace_id: str | None = None
    workspace_name: str | None = None
    workspace_slug: str | None = None

    @property
    def missing_scopes(self) -> tuple[str, ...]:
        """What Muster needs and this key is not allowed. `…:read-write` allows reading, too."""
        return tuple(scope for scope in READ_SCOPES if not {scope, f"{scope}-write"} & set(self.scopes))

    @classmethod
    def of(cls, raw: Any) -> "Self":
        """The answer of `GET /self`."""
        raw = _mapping(raw)
        scope = raw.get("scope")
        scopes: Sequence[Any] = scope.split() if isinstance(scope, str) else scope if isinstance(scope, list) else ()
        return cls(
            active=raw.get("active") is True,
            scopes=tuple(each for each in scopes if isinstance(each, str)),
            workspace_id=_text(raw.get("workspace_id")),
            workspace_name=_text(raw.get("workspace_name")),
            workspace_slug=_text(raw.get("workspace_slug")),
        )


def moment(value: Any) -> datetime | None:
    """A timestamp or date of Attio's as aware UTC, whatever the number of its digits; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        read = datetime.fromisoformat(value)  # digits beyond the sixth are cut off
    except ValueError:
        return None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _id(ids: Mapping[str, Any], name: str, what: str) -> str:
    found = _text(ids.get(name))
    if found is None:
        raise ValueError(f"a {what} without {name}")
    return found


def _values(raw: Any) -> Values:
    """Every attribute as a list of objects. A single object or a bare value is taken as the only one of its list."""
    return {slug: _listed(values) for slug, values in _mapping(raw).items()}


def _listed(values: Any) -> list[dict[str, Any]]:
    if values is None:
        return []
    listed = values if isinstance(values, list) else [values]
    if not any(type(value) is not dict for value in listed):  # nearly always
        return listed
    return [value if isinstance(value, dict) else {"value": value} for value in listed if value is not None]

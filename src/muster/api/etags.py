"""Entity tags: the revision of a resource in `ETag`, and what `If-Match` and `If-None-Match` ask of it."""

import re
from typing import Any

from litestar import Response
from litestar.connection import ASGIConnection

from muster.errors import BadRequest, PreconditionFailed

Connection = ASGIConnection[Any, Any, Any, Any]

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_LIST = re.compile(rf"\s*{_TAG.pattern}(\s*,\s*{_TAG.pattern})*\s*")


def etag(rev: int) -> str:
    """The entity tag of a revision, quotes included."""
    return f'"{rev}"'


def expected_revs(connection: Connection) -> frozenset[int] | None:
    """The revisions that `If-Match` accepts, or None when any will do (no header, or `*`).

    A weak or foreign tag matches no revision. For writes: put the answer into the update's own filter, so that
    nobody comes between the check and the write.
    """
    tags = _tags(connection, "If-Match")
    if tags is None:
        return None
    return frozenset(int(tag) for weak, tag in tags if not weak and tag.isascii() and tag.isdigit() and len(tag) < 19)


def must_exist(connection: Connection) -> bool:
    """Whether `If-Match` is there at all: then the resource has to exist."""
    return "if-match" in connection.headers


def must_not_exist(connection: Connection) -> bool:
    """Whether `If-None-Match: *` asks to create only."""
    return connection.headers.get("if-none-match", "").strip() == "*"


def check_if_match(connection: Connection, rev: int) -> None:
    """Raise PreconditionFailed when `If-Match` names other revisions than this one."""
    accepted = expected_revs(connection)
    if accepted is not None and rev not in accepted:
        raise stale()


def not_modified(connection: Connection, rev: int) -> bool:
    """Whether the caller's copy, by `If-None-Match` on a GET, is still right (weak comparison)."""
    tags = _tags(connection, "If-None-Match")
    return tags is not None and any(tag == str(rev) for _, tag in tags)


def unchanged(rev: int) -> Response[None]:
    """304, with the tag that still holds."""
    return Response(None, status_code=304, headers={"ETag": etag(rev)})


def stale() -> PreconditionFailed:
    """The error for an `If-Match` that no longer holds."""
    return PreconditionFailed("If-Match names another revision: somebody changed or deleted this. Read it again.")


def _tags(connection: Connection, header: str) -> list[tuple[bool, str]] | None:
    """Each tag as (weak, opaque text); None when the header is missing or `*`."""
    value = connection.headers.get(header.lower())
    if value is None or value.strip() == "*":
        return None
    if not _LIST.fullmatch(value):
        raise BadRequest(f'{header} is not a list of entity tags such as "7".')
    return [(bool(weak), tag) for weak, tag in _TAG.findall(value)]

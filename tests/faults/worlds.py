"""What a profile may be, judging by the answers to one writer: the exact check that nothing acknowledged was lost.

A profile that only one writer touches, one request after the other, is after an acknowledged request what that request
makes of it; after one that nobody answered it is that, or what it was before. So a handful of possible states is all
there is to remember, every answer must fit one of them, and so must what is stored in the end.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Fields = Mapping[str, str | int]
Parts = Mapping[str, Fields]


@dataclass(frozen=True, slots=True)
class State:
    """A stored profile: its revision and its parts, sorted, so that equal ones are equal."""

    rev: int
    parts: tuple[tuple[str, tuple[tuple[str, str | int], ...]], ...]


World = State | None
"""None: there is no such profile."""

Request = Callable[[World], tuple[World, int]]
"""What a request makes of a profile, and the HTTP status that says so."""


def state(rev: int, parts: Parts) -> State:
    return State(rev, tuple(sorted((part, tuple(sorted(fields.items()))) for part, fields in parts.items())))


def stored(profile: Mapping[str, Any] | None) -> World:
    """The state of a document of `profiles`."""
    if profile is None:
        return None
    parts = {name: profile[name] for name in ("lead", "contact", "customer") if name in profile}
    return state(profile["rev"], parts)


def put(part: str, fields: Fields, *, imported: bool = False) -> Request:
    """The whole part; an import answers 200 whatever is new."""

    def request(before: World) -> tuple[World, int]:
        parts = _parts(before)
        status = 200 if part in parts or imported else 201
        return _changed(before, {**parts, part: fields}), status

    return request


def patch(part: str, fields: Fields) -> Request:
    def request(before: World) -> tuple[World, int]:
        parts = _parts(before)
        if part not in parts:
            return before, 404
        return _changed(before, {**parts, part: {**parts[part], **fields}}), 200

    return request


def remove(part: str) -> Request:
    def request(before: World) -> tuple[World, int]:
        parts = _parts(before)
        if part not in parts:
            return before, 404
        return _changed(before, {name: fields for name, fields in parts.items() if name != part}), 204

    return request


def erase(before: World) -> tuple[World, int]:
    return None, 404 if before is None else 200


@dataclass(slots=True)
class Private:
    """One profile of one writer, with all that it may be by now."""

    pii_id: str
    worlds: set[World] = field(default_factory=lambda: {None})
    history: list[str] = field(default_factory=list)

    def answered(self, what: str, request: Request, status: int, rev: int | None) -> None:
        """Keep the worlds in which this request has this answer. `rev` as answered, where it was."""
        self.history.append(f"{what} → {status}, rev {rev}")
        after = [made for world in self.worlds for made, expected in [request(world)] if expected == status]
        left = {made for made in after if rev is None or (made is not None and made.rev == rev)}
        assert left, f"{self}: no answer like this is possible; before it, one of {self.worlds}"
        self.worlds = left

    def unanswered(self, what: str, request: Request) -> None:
        """It happened, or it did not."""
        self.history.append(f"{what} → ?")
        self.worlds |= {request(world)[0] for world in self.worlds}

    def __str__(self) -> str:
        return f"{self.pii_id}, last asked: " + "; ".join(self.history[-6:])


def _parts(world: World) -> dict[str, dict[str, str | int]]:
    return {} if world is None else {name: dict(fields) for name, fields in world.parts}


def _changed(before: World, parts: Parts) -> State:
    """Another revision only where something differs."""
    if before is None:
        return state(1, parts)
    after = state(before.rev, parts)
    return after if after == before else state(before.rev + 1, parts)

"""Forms and what they answer: plain POSTs that lead to a page, and a notice on it of what was done.

They work without JavaScript. A form that htmx sends (`HX-Request`) may be answered by a piece of a page instead.
"""

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.response import Redirect
from pydantic import BaseModel, ValidationError

from muster.console.sentences import sentence
from muster.errors import Invalid, MusterError, Problem

NOTICE: Final = "muster_notice"
LONGEST_NOTICE = 1_000  # characters: a cookie holds 4,096 bytes
LONGEST_VALUE = 20_000  # characters of one field

AnyRequest = Request[Any, Any, Any]
Schema = TypeVar("Schema", bound=BaseModel)
Tone = Literal["good", "bad"]


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence on the next page: what was done (`good`), or why it was not (`bad`)."""

    text: str
    tone: Tone = "good"


async def text(request: AnyRequest, name: str) -> str:
    """What a form says under a name, without white space around; empty when it says nothing. Raises Invalid."""
    value = (await request.form()).get(name, "")
    if not isinstance(value, str) or len(value) > LONGEST_VALUE:
        raise Invalid(f"The field {name} of the form is too long.")
    return value.replace("\r\n", "\n").strip()


async def revision(request: AnyRequest) -> frozenset[int]:
    """The revision that the page showed, for `expected_revs`: the `If-Match` of a form. Raises Invalid without one."""
    value = await text(request, "rev")
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise Invalid("The form does not say which revision it changes; load the page again.")
    return frozenset({int(value)})


def is_piece(request: AnyRequest) -> bool:
    """Whether htmx asks, so that a piece of the page is enough."""
    return request.headers.get("hx-request") == "true"


def go(request: AnyRequest, address: str, notice: Notice | None = None, *cookies: Cookie) -> Response[Any]:
    """Lead to a page of ours, with a notice on it."""
    kept = [*cookies, _kept(request, notice)] if notice else list(cookies)
    headers = {"Cache-Control": "no-store"}
    if is_piece(request):
        return Response(None, status_code=204, headers={**headers, "HX-Redirect": address}, cookies=kept)
    return Redirect(address, status_code=303, cookies=kept, headers=headers)


def refused(request: AnyRequest, address: str, error: MusterError) -> Response[Any]:
    """Lead back to where a form was, with what the service said against it. What is not there stays an error page."""
    if error.status not in {409, 412, 422}:
        raise error
    return go(request, address, Notice(sentence(error.detail), "bad"))


def checked(schema: type[Schema], values: Mapping[str, object]) -> Schema:
    """The values of a form as the body that the API would take. Raises Invalid with the first thing that is wrong."""
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        problems = [
            Problem(
                str(found["msg"]).removeprefix("Value error, "), pointer="".join(f"/{step}" for step in found["loc"])
            )
            for found in error.errors()
        ]
        field_name = (problems[0].pointer or "").split("/")[-1]
        raise Invalid(f"The field {field_name} does not fit: {problems[0].detail}.", problems) from error


def by_field(
    problems: Sequence[Problem], names: Collection[str], *, within: str = ""
) -> tuple[dict[str, str], list[Problem]]:
    """The first problem of each of these fields by its name, and the problems of everything else.

    A field stands at the top of what is sent, or `within` the object at this pointer.
    """
    fields: dict[str, str] = {}
    rest: list[Problem] = []
    for problem in problems:
        name = (problem.pointer or "").removeprefix(within).partition("/")[2].partition("/")[0]
        if name in names:
            fields.setdefault(name, problem.detail)
        else:
            rest.append(problem)
    return fields, rest


def problems_of(error: MusterError) -> list[Problem]:
    """What an error says, place by place; all of it where it names none."""
    return list(error.problems) or [Problem(error.detail)]


def ours(address: str, otherwise: str = "/") -> str:
    """An address that a form names, if it lies within this console; else another one."""
    is_safe = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_safe else otherwise


def take_notice(request: AnyRequest) -> tuple[Notice | None, Cookie | None]:
    """The notice that waits for this visitor, and the cookie that forgets it."""
    value = request.cookies.get(NOTICE)
    if not value:
        return None, None
    forget = cookie(request, NOTICE, "", max_age=0)
    try:
        read = json.loads(base64.urlsafe_b64decode(value.encode("ascii")))
        return Notice(str(read[0])[:LONGEST_NOTICE], "bad" if read[1] == "bad" else "good"), forget
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return None, forget


def cookie(request: AnyRequest, name: str, value: str, *, max_age: int) -> Cookie:
    """A cookie that scripts and other sites do not get, for `max_age` seconds; 0 makes a browser forget it."""
    is_secure = request.url.scheme == "https"
    return Cookie(key=name, value=value, max_age=max_age, path="/", httponly=True, samesite="lax", secure=is_secure)


def _kept(request: AnyRequest, notice: Notice) -> Cookie:
    plain = json.dumps([notice.text[:LONGEST_NOTICE], notice.tone], ensure_ascii=False)
    value = base64.urlsafe_b64encode(plain.encode("utf-8", "replace")).decode()
    return cookie(request, NOTICE, value, max_age=60)

"""What somebody chose in this browser, kept in cookies: language, light or dark, project."""

from typing import Any, Final

from litestar import Request, Response, post
from litestar.di import NamedDependency

from muster.api.auth import PUBLIC
from muster.console import forms, languages, rooms
from muster.errors import Invalid
from muster.projects.service import project_of

AnyRequest = Request[Any, Any, Any]

THEME: Final = "muster_theme"
THEMES = ("auto", "light", "dark")
YEAR = 365 * 24 * 3600


def theme_of(request: AnyRequest) -> str:
    """`light` or `dark` where one was chosen, else `auto`: as the system has it."""
    chosen = request.cookies.get(THEME)
    return chosen if chosen in THEMES else "auto"


@post("/preferences")
async def prefer(request: AnyRequest) -> Response[Any]:
    """Keep what a form names."""
    return await _kept(request)


@post("/signin/preferences", opt=PUBLIC)
async def prefer_before_signing_in(request: AnyRequest) -> Response[Any]:
    """The same for a visitor."""
    return await _kept(request)


@post("/project")
async def switch_project(request: AnyRequest, owner: NamedDependency[str]) -> Response[Any]:
    """Show another project's things."""
    project = await project_of(owner, await forms.text(request, "project"))
    return forms.go(request, "/", None, forms.cookie(request, rooms.COOKIE, project.id, max_age=YEAR))


async def _kept(request: AnyRequest) -> Response[Any]:
    cookies = []
    for name, cookie, known in (("language", languages.COOKIE, languages.LANGUAGES), ("theme", THEME, THEMES)):
        if value := await forms.text(request, name):
            if value not in known:
                raise Invalid(f"There is no {name} {value!r} here.")
            cookies.append(forms.cookie(request, cookie, value, max_age=YEAR))
    return forms.go(request, forms.ours(await forms.text(request, "back")), None, *cookies)


ROUTES = [prefer, prefer_before_signing_in, switch_project]

"""The pages: every route, and the entries of the navigation, in visible lists."""

from typing import Any

from litestar import Request, Router
from litestar.config.compression import CompressionConfig
from litestar.datastructures import CacheControlHeader
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.middleware.compression import CompressionMiddleware
from litestar.static_files import create_static_files_router

from muster.api.auth import PUBLIC
from muster.console import (
    agent_routes,
    assign_routes,
    attio_routes,
    cohort_routes,
    experiment_routes,
    home_routes,
    import_routes,
    job_routes,
    languages,
    member_routes,
    pages,
    preferences,
    profile_routes,
    rule_routes,
    run_routes,
    settings_routes,
    signin_routes,
    webhook_routes,
)
from muster.console.languages import marked
from muster.console.pages import Section
from muster.console.rooms import provide_room
from muster.console.sessions import CONSOLE, Sessions

LARGEST_FORM = 100_000  # bytes

NAVIGATION = [
    Section("home", "/", marked("Home")),
    Section("cohorts", "/cohorts", marked("Cohorts")),
    Section("attio", "/attio", marked("Attio")),
    Section("assign", "/assign", marked("Assign")),
    Section("experiments", "/experiments", marked("Experiments")),
    Section("jobs", "/jobs", marked("Jobs")),
    Section("settings", "/settings", marked("Settings")),
]


def routes(sessions: Sessions) -> tuple[Router, Router]:
    """The pages and their static files."""
    pages.SECTIONS[:] = NAVIGATION

    async def before(request: Request[Any, Any, Any]) -> None:
        languages.speak(languages.language_of(request).code)
        await sessions.check_form(request)

    console = Router(
        "/",
        route_handlers=[
            *signin_routes.ROUTES,
            *preferences.ROUTES,
            *home_routes.ROUTES,
            *rule_routes.ROUTES,
            *cohort_routes.ROUTES,
            *member_routes.ROUTES,
            *profile_routes.ROUTES,
            *attio_routes.ROUTES,
            *import_routes.ROUTES,
            *assign_routes.ROUTES,
            *agent_routes.ROUTES,
            *experiment_routes.ROUTES,
            *run_routes.ROUTES,
            *job_routes.ROUTES,
            *settings_routes.ROUTES,
            *webhook_routes.ROUTES,
        ],
        dependencies={"room": Provide(provide_room)},
        before_request=before,
        exception_handlers=pages.EXCEPTION_HANDLERS,
        include_in_schema=False,
        opt=CONSOLE,
        request_max_body_size=LARGEST_FORM,
    )
    static = create_static_files_router(
        "/static",
        directories=[pages.STATIC],
        # Assets alone: they hold no secret, which the size of a compressed page could tell of.
        middleware=[DefineMiddleware(CompressionMiddleware, config=CompressionConfig("gzip", gzip_compress_level=6))],
        cache_control=CacheControlHeader(public=True, max_age=365 * 24 * 3600, immutable=True),
        opt=PUBLIC,
    )
    return console, static

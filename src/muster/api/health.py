"""`/health/live`, `/health/ready`, `/metrics`, and what an error's `type` means: open to all."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import redis.exceptions
from litestar import Response, get
from litestar.params import FromPath
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pymongo.errors import PyMongoError

from muster.api.auth import PUBLIC, PUBLIC_SECURITY
from muster.api.problems import KINDS, problem_type
from muster.errors import NotFound, Problem, Unavailable

Check = Callable[[], Awaitable[dict[str, Any]]]

CHECKS: Final[dict[str, Check]] = {}
"""Each says how something does, or raises what its driver raises. `muster.app` fills it."""


MEASURES: Final[list[Callable[[], Awaitable[None]]]] = []
"""Each brings metrics that are read from the database up to date, before they are shown. `muster.app` fills it."""


@get("/health/live", opt=PUBLIC, security=PUBLIC_SECURITY, summary="Is the process alive?", tags=["health"])
async def live() -> dict[str, str]:
    """Answers as long as the process does."""
    return {"status": "ok"}


@get("/health/ready", opt=PUBLIC, security=PUBLIC_SECURITY, summary="Can it serve?", tags=["health"])
async def ready() -> dict[str, Any]:
    """Whether MongoDB and Redis answer, and how far the watcher is behind. 503 when one of them does not answer."""
    found: dict[str, Any] = {}
    problems = []
    for name, check in CHECKS.items():
        try:
            found[name] = await check()
        except (PyMongoError, redis.exceptions.RedisError, OSError, TimeoutError):
            problems.append(Problem(f"{name} does not answer."))
    if problems:
        raise Unavailable("Muster cannot serve at the moment.", problems)
    return {"status": "ok", "checks": found}


@get(
    "/metrics",
    opt=PUBLIC,
    security=PUBLIC_SECURITY,
    summary="Metrics for Prometheus",
    tags=["health"],
)
async def metrics() -> Response[bytes]:
    """Counters and durations by route, and how the watcher does. Nothing in them is personal."""
    for measure in MEASURES:
        with suppress(PyMongoError):  # what this process counts itself is shown all the same
            await measure()
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@get("/problems/{name:str}", opt=PUBLIC, security=PUBLIC_SECURITY, summary="What an error means", tags=["health"])
async def explain_problem(name: FromPath[str]) -> dict[str, Any]:
    """The meaning of a problem document's `type`."""
    for kind in KINDS.values():
        if problem_type(kind) == f"/problems/{name}":
            return {"type": problem_type(kind), "title": kind.title, "status": kind.status, "meaning": kind.__doc__}
    raise NotFound(f"There is no error called {name[:100]!r}.")


ROUTES = (live, ready, metrics, explain_problem)

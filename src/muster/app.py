"""The application: every route, error handler, middleware and hook in one visible list."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import NotFoundException
from litestar.plugins.prometheus import PrometheusConfig
from litestar.template import TemplateConfig

from muster.agents import measures as agents_measures
from muster.agents import routes as agents
from muster.agents import service as agents_service
from muster.api import health
from muster.api.auth import Authentication, BearerTokens, provide_owner
from muster.api.documentation import declare_problems, openapi_config
from muster.api.headers import add_security_headers
from muster.api.idempotency import Idempotency
from muster.api.problems import EXCEPTION_HANDLERS
from muster.api.requests import EncodedSlashes, JsonRequest, PathIds, refuse_other_media
from muster.attio import connection as attio_connection
from muster.attio import erasure as attio_erasure
from muster.attio import hook_routes as attio_hooks
from muster.attio import hooks, imports
from muster.attio import import_routes as attio_imports
from muster.attio import routes as attio
from muster.cohorts import audit, erasure, members, slices, sources
from muster.cohorts import routes as cohorts
from muster.cohorts import service as cohorts_service
from muster.console import routes as console
from muster.console.pages import template_engine, unknown_address
from muster.console.sessions import Sessions
from muster.experiments import erasure as experiments_erasure
from muster.experiments import routes as experiments
from muster.experiments import service as experiments_service
from muster.jobs import routes as jobs
from muster.jobs import service as jobs_service
from muster.projects import routes as projects
from muster.projects import service as projects_service
from muster.records import registry, registry_file, rolls
from muster.records import routes as records
from muster.records import service as records_service
from muster.records.openapi import declare_fields
from muster.resources import Resources, open_resources
from muster.settings import Settings, bundled, load_settings
from muster.webhooks import deliveries, relay
from muster.webhooks import routes as webhooks
from muster.webhooks import service as webhooks_service

LARGEST_BODY = 10_000_000  # bytes; the import streams and has no limit


def create_app(settings: Settings | None = None) -> Litestar:
    """The whole application. MongoDB and Redis are opened when it starts and closed when it stops."""
    settings = settings or load_settings()
    connect_features(settings)
    tokens, sessions = BearerTokens(settings), Sessions(settings)
    app = Litestar(
        route_handlers=[
            *health.ROUTES,
            *projects.ROUTES,
            *records.ROUTES,
            *cohorts.ROUTES,
            *jobs.ROUTES,
            *webhooks.ROUTES,
            *attio.ROUTES,
            *experiments.ROUTES,
            *attio_imports.ROUTES,
            *agents.ROUTES,
            *attio_hooks.ROUTES,
            *console.routes(sessions),
        ],
        dependencies={
            "owner": Provide(provide_owner, sync_to_thread=False),
            "settings": Provide(lambda: settings, sync_to_thread=False),
            "project": Provide(projects.provide_project),
            "named_project": Provide(projects.provide_named_project),
        },
        middleware=[  # the outermost first
            PrometheusConfig(app_name="muster", prefix="muster", group_path=True).middleware,
            PathIds(),
            Authentication([tokens, sessions]),
            Idempotency(),
        ],
        before_request=refuse_other_media,
        before_send=[add_security_headers],
        exception_handlers={**EXCEPTION_HANDLERS, NotFoundException: unknown_address},
        openapi_config=openapi_config(),
        request_class=JsonRequest,
        request_max_body_size=LARGEST_BODY,
        lifespan=[_resources(settings)],
        state=State({"tokens": tokens, "sessions": sessions}),
        template_config=TemplateConfig(instance=template_engine()),
        logging_config=None,  # whoever runs the process says where its log goes
        debug=False,
    )
    declare_problems(app.openapi_schema)
    declare_fields(app.openapi_schema, registry_file.read(bundled("rules") / "fields.yaml"), records.PLURALS)
    app.asgi_handler = EncodedSlashes(app.asgi_handler)  # before the router, where no middleware of Litestar stands
    return app


def connect_features(settings: Settings) -> None:
    """Say what one feature asks of another that it does not import. It holds for this process."""
    projects_service.HOLDINGS[:] = [
        records_service.holdings,
        cohorts_service.holdings,
        experiments_service.holdings,
        agents_service.holdings,
    ]
    projects_service.DELETIONS[:] = [
        registry.forget_fields,
        webhooks_service.forget_webhooks,
        partial(attio_connection.forget, settings),
        imports.forget_imports,
        agents_service.forget_project,
        hooks.forget,
        partial(attio_erasure.forget_repository, settings),
    ]
    projects_service.TIME_ZONE_CHANGES[:] = [cohorts_service.follow_time_zone]
    records_service.ERASURES[:] = [
        erasure.erase,
        rolls.forget,
        jobs_service.forget,
        deliveries.forget_responses,
        experiments_erasure.erase,
        imports.forget,
        agents_service.erase,
        attio_erasure.erase,
    ]
    records_service.ERASED[:] = [attio_erasure.hurry]
    records_service.SAVE_AS_COHORT[:] = [cohorts_service.save_import]
    sources.IMPORTS[:] = [imports.profiles_of]
    cohorts_service.blockers[:] = [experiments_service.users_of]
    records_service.EXPERIMENTS[:] = [experiments_service.experiment_ids_of]
    imports.TAKEN_BY[:] = [experiments_service.taken_by]
    records_service.MEMBERSHIPS[:] = [members.cohort_ids_of]


def _resources(settings: Settings) -> Any:
    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with open_resources(settings) as resources:
            app.state.resources = resources
            health.CHECKS.update(_checks(resources))
            health.MEASURES[:] = [slices.measure, audit.measure, agents_measures.measure]
            yield

    return lifespan


def _checks(resources: Resources) -> dict[str, health.Check]:
    async def mongodb() -> dict[str, Any]:
        await resources.database.command("ping")
        return {"status": "ok"}

    async def redis() -> dict[str, Any]:
        await resources.redis.ping()
        return {"status": "ok"}

    return {
        "mongodb": mongodb,
        "redis": redis,
        "watcher": slices.standing,
        "audit": audit.standing,
        "webhooks": relay.standing,
    }

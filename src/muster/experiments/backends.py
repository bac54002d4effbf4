"""Which back end a configuration asks for, and whether it can be had."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from muster.errors import Conflict, Invalid, Problem
from muster.experiments.callbacks import callback_headers
from muster.experiments.configuration import Configuration
from muster.experiments.dispatch import Backend
from muster.experiments.documents import ExperimentRun
from muster.experiments.local import Local, check_callable
from muster.experiments.remote import Remote
from muster.experiments.wire import Wire
from muster.settings import Settings
from muster.webhooks.addresses import Policy, Refused


async def check_choice(config: Configuration, settings: Settings) -> None:
    """Raise Invalid where the configuration names what cannot be sent to. What settings lack may come later."""
    dispatch = config.dispatch
    if dispatch.backend == "local":
        check_callable(dispatch.callable)
    if dispatch.backend == "webhook":
        try:
            await Policy(settings.webhooks_allow_private).check(dispatch.url or "")
        except Refused as refused:
            raise Invalid(
                "Muster does not send experiments to this address.", [Problem(str(refused), "/config/dispatch/url")]
            ) from None


def check_settings(config: Configuration, settings: Settings) -> None:
    """Raise Conflict while nothing says where Modal is."""
    if config.dispatch.backend != "modal":
        return
    if not settings.modal_url:
        raise Conflict(
            "MUSTER_MODAL_URL is not set, so there is nowhere to send a run: set it to your deployment's address, or "
            'try `muster sandbox`, or choose another back end, such as {"dispatch": {"backend": "local"}}.'
        )
    try:
        right = httpx.URL(settings.modal_url).scheme in {"http", "https"} and httpx.URL(settings.modal_url).host
    except httpx.InvalidURL:
        right = ""
    if not right:
        raise Conflict("MUSTER_MODAL_URL is no address; it begins with https://.")


@asynccontextmanager
async def open_backend(config: Configuration, run: ExperimentRun, settings: Settings) -> AsyncIterator[Backend]:
    """Who shall run this, ready to be talked to. Raises as the checks above."""
    await check_choice(config, settings)
    check_settings(config, settings)
    dispatch = config.dispatch
    if dispatch.backend == "local":
        beside = {name: value for name, value in json.loads(run.config or "{}").items() if name != "personas"}
        yield Local(dispatch.callable or "", beside)
        return
    told = callback_headers(settings, run.id)
    if dispatch.backend == "webhook":
        wire = Wire(dispatch.url or "", {}, told, Policy(settings.webhooks_allow_private))
        who = f"The endpoint at {wire.host}"
        keys = "its address"
    else:
        given = {"Modal-Key": settings.modal_key, "Modal-Secret": settings.modal_secret}
        secrets = {name: value.get_secret_value() for name, value in given.items() if value is not None}
        wire = Wire(settings.modal_url or "", secrets, told)
        who = "Modal"
        keys = "MUSTER_MODAL_KEY and MUSTER_MODAL_SECRET"
    async with wire:
        yield Remote(wire, who, keys)

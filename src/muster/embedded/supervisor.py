"""`muster up`: MongoDB, Redis, the API, the workers and the watcher, each a process of its own."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from pydantic import SecretStr
from redis.exceptions import RedisError

from muster.api import auth
from muster.embedded import mongod, ports, redis, stack
from muster.embedded.addresses import FILE as ADDRESSES
from muster.embedded.addresses import write_addresses
from muster.embedded.data_folder import claimed, write_private
from muster.embedded.services import Service, kept, run_once
from muster.errors import StartError
from muster.migrations import migrate
from muster.resources import Resources, open_resources
from muster.settings import Settings

OWNER = "local"
TOKEN = "token"  # noqa: S105 - a file name
TOKEN_TTL = 365 * 24 * 3600  # seconds
IMPATIENCE = 1.0  # seconds; one Ctrl-C may arrive twice (from the terminal and through make), and is still one

Tell = Callable[[str], None]


async def up(settings: Settings, *, announce: Tell, tell: Tell, with_sandbox: bool = False) -> None:
    """Run everything until SIGINT, SIGTERM or SIGHUP cancels it, then stop it in order.

    `announce` gets what a person waits for, `tell` what is wrong. Raises StartError with one sentence when something
    does not start.
    """
    stand_ins = sandbox if with_sandbox else no_sandbox
    stop_on_signals(tell)
    try:
        with claimed(settings.data_path), suppress(asyncio.CancelledError):
            require_free_port(settings)
            async with (
                stand_ins(settings, tell) as supplied,
                servers(supplied, tell) as addressed,
                open_resources(addressed) as resources,
            ):
                await require_redis(resources)
                await migrate(resources)
                token = write_token(addressed)
                async with kept(stack.application(resources), tell):
                    await welcome(addressed, token, announce)
                    await fill(addressed, announce, tell)
                    await stack.forever()
    except* StartError as group:
        raise _first(group) from None


def stop_on_signals(tell: Tell) -> None:
    """Let the first signal cancel the current task, and another one, later, end this process and so all others."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    stopping_since: list[float] = []

    def stop() -> None:
        if not stopping_since and task:
            stopping_since.append(time.monotonic())
            tell("stopping")
            task.cancel()
        elif time.monotonic() - stopping_since[0] > IMPATIENCE:
            tell("killing everything")
            os._exit(1)  # the kernel kills what is tied to this process

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # `nohup` ignores hang-ups on purpose; a shell's `&` ignores SIGINT, which a script may send all the same.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stop)


def require_free_port(settings: Settings) -> None:
    """Raises StartError when nothing can listen at the API's address."""
    if reason := ports.why_not(settings.host, settings.port):
        raise StartError(
            f"Port {settings.port} on {settings.host} cannot be used ({reason}): stop the program that has it, or "
            "name another address with MUSTER_PORT and MUSTER_HOST."
        )


async def require_redis(resources: Resources) -> None:
    """Raises StartError when Redis does not answer: one of our own does by now, so it is somebody else's."""
    try:
        await resources.redis.ping()
    except (RedisError, OSError) as error:
        raise StartError(
            f"Redis does not answer ({error}): is it running, and does MUSTER_REDIS_URL name it?"
        ) from error


@asynccontextmanager
async def servers(settings: Settings, tell: Tell) -> AsyncIterator[Settings]:
    """The embedded servers that these settings name no address for, running; the settings with their addresses."""
    services: list[Service] = []
    found: dict[str, SecretStr] = {}
    if settings.mongodb_uri is None:
        port = ports.kept_port(settings.data_path / "mongodb")
        services.append(stack.mongod_service(settings, port))
        found["mongodb_uri"] = SecretStr(mongod.uri(port))
    if settings.redis_url is None:
        port = ports.kept_port(settings.data_path / "redis")
        services.append(stack.redis_service(settings, port))
        found["redis_url"] = SecretStr(redis.url(port))
    addressed = settings.model_copy(update=found)
    async with kept(services, tell):
        write_addresses(settings.data_path, addressed)
        try:
            yield addressed
        finally:
            (settings.data_path / ADDRESSES).unlink(missing_ok=True)


@asynccontextmanager
async def sandbox(settings: Settings, tell: Tell) -> AsyncIterator[Settings]:
    """The stand-ins, running, and the settings that lead there. Raises StartError where there are real ones."""
    if settings.attio_api_key is not None or settings.modal_url is not None:
        raise StartError(
            "MUSTER_ATTIO_API_KEY or MUSTER_MODAL_URL is set: the sandbox would take their place. Unset them, or start "
            "without --sandbox."
        )
    port = ports.kept_port(settings.data_path / "sandbox")
    async with kept([stack.sandbox_service(settings, port)], tell):
        yield settings.model_copy(update=stack.sandbox_settings(port))


@asynccontextmanager
async def no_sandbox(settings: Settings, tell: Tell) -> AsyncIterator[Settings]:  # noqa: ARG001  as `sandbox`
    """The settings as they are."""
    yield settings


def write_token(settings: Settings) -> str | None:
    """A token for the local owner, kept in the data folder (0600); None where an identity provider issues them."""
    if settings.auth_jwks_url is not None and settings.auth_secret is None:
        return None
    token = auth.issue_token(settings, OWNER, TOKEN_TTL)
    write_private(settings.data_path / TOKEN, f"{token}\n")
    return token


async def welcome(settings: Settings, token: str | None, announce: Tell) -> None:
    """Say that everything serves, where, and how to get in."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{settings.port}"
    announce(f"Muster is ready at {address}")
    if token:
        code = await auth.issue_signin_code(OWNER)
        announce(f"Sign in once within 15 minutes: {address}/signin?code={code}")
        announce(f"Token for the API, also in {settings.data_path / TOKEN}: {token}")
    announce("Ctrl-C stops everything.")


async def fill(settings: Settings, announce: Tell, tell: Tell) -> None:
    """Load the demo workspace the first time, and the cohorts of `rules/` every time, unless MUSTER_DEMO=0."""
    if not settings.demo:
        return
    try:
        for command in (("demo", "--once"), ("rules", "apply")):
            await run_once(stack.muster_service(settings, *command))
        announce("The demo workspace and the cohorts of rules/ are loaded (MUSTER_DEMO=0 starts without them).")
    except StartError as error:
        tell(str(error))  # what serves goes on serving


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first

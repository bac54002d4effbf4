"""`muster doctor`: what this machine has, and what the configured servers say."""

import platform
import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pymongo.errors import PyMongoError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from muster.api import auth
from muster.attio.connection import whose
from muster.embedded import mongod, ports, redis
from muster.embedded.data_folder import is_claimed
from muster.errors import MusterError, StartError
from muster.migrations import pending_migrations
from muster.projects import git_commands
from muster.resources import open_mongodb
from muster.settings import Settings, bundled

ROOM = 2 * 10**9  # bytes; an empty data folder takes 300 MB


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, whether it holds, and what was found or what to do."""

    name: str
    ok: bool
    detail: str

    def as_json(self) -> dict[str, str | bool]:
        return asdict(self)


Check = Callable[[Settings], Awaitable[str]]


async def examine(settings: Settings) -> Sequence[Finding]:
    """Every check in order. A check answers with what it found, or raises StartError with what to do."""
    checks: tuple[tuple[str, Check], ...] = (
        ("Python", _python),
        ("files", _files),
        ("git", _git),
        ("data folder", _data_folder),
        ("signing key", _signing_key),
        ("API address", _api_address),
        ("MongoDB", _mongodb),
        ("Redis", _redis),
        *((("Attio", _attio),) if settings.attio_api_key else ()),
    )
    findings = []
    for name, check in checks:
        try:
            findings.append(Finding(name, True, await check(settings)))
        except (StartError, MusterError, PyMongoError, RedisError, OSError) as error:
            findings.append(Finding(name, False, str(error)))
    return findings


async def _python(settings: Settings) -> str:  # noqa: ARG001 - every check has one signature
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise StartError(f"Python {platform.python_version()} is not supported: use 3.11, 3.12 or 3.13.")
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}"


async def _files(settings: Settings) -> str:  # noqa: ARG001 - as above
    missing = [str(folder) for folder in (bundled("rules"), bundled("migrations")) if not folder.is_dir()]
    if missing:
        raise StartError(f"Missing: {', '.join(missing)}; install Muster again.")
    return f"rules and migrations are in {bundled('rules').parent}"


async def _git(settings: Settings) -> str:  # noqa: ARG001 - as above
    try:
        found = git_commands.version()
    except git_commands.GitTrouble as error:
        raise StartError(error.detail) from None
    named, oldest = (".".join(map(str, version)) for version in (found, git_commands.OLDEST))
    if found < git_commands.OLDEST:
        raise StartError(f"git {named} is too old: what is imported from Attio is kept by {oldest} or later.")
    return named


async def _data_folder(settings: Settings) -> str:
    folder = settings.data_path
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise StartError(f"{existing} is not a folder: name another one with MUSTER_DATA_DIR.")
    probe = existing / ".muster-doctor"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StartError(
            f"{existing} cannot be written ({error.strerror}): name another with MUSTER_DATA_DIR."
        ) from error
    free = shutil.disk_usage(existing).free
    if free < ROOM:
        raise StartError(f"{folder} has {free / 1e9:.1f} GB left, which is soon full: {ROOM / 1e9:.0f} GB are wise.")
    private = [file.name for file in _secrets(folder) if file.stat().st_mode & 0o077]
    if private:
        raise StartError(f"Others can read {', '.join(private)} in {folder}: `chmod 600` them.")
    return f"{folder}, {free / 1e9:.0f} GB free{', in use by a running `muster up`' if is_claimed(folder) else ''}"


def _secrets(folder: Path) -> Sequence[Path]:
    own = [file for name in (auth.SECRET_FILE, "token", "servers.json") if (file := folder / name).exists()]
    return [*own, *sorted((folder / "secrets").glob("*.env"))]


async def _signing_key(settings: Settings) -> str:
    if settings.auth_jwks_url:
        return f"tokens come from the provider at {settings.auth_jwks_url}"
    if settings.auth_secret is None and not (settings.data_path / auth.SECRET_FILE).exists():
        return "is made at the first start"
    auth.signing_secret(settings)
    return "is there"


async def _api_address(settings: Settings) -> str:
    address = f"{settings.host}:{settings.port}"
    if is_claimed(settings.data_path):
        return f"{address}, `muster up` is running"
    if reason := ports.why_not(settings.host, settings.port):
        raise StartError(f"{address}: {reason}; stop the program that has it, or name another with MUSTER_PORT.")
    return f"{address} is free"


async def _mongodb(settings: Settings) -> str:
    if settings.mongodb_uri is None:
        program = mongod.binary()
        mongod.check_libraries(program)
        return f"embedded, {program}"
    client = open_mongodb(settings)
    try:
        hello = await client.admin.command("hello")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            raise StartError("MUSTER_MONGODB_URI names a single server: make it a replica set (`--replSet`).")
        version = (await client.admin.command("buildInfo"))["version"]
        database = client[settings.mongodb_database]
        pending = await pending_migrations(database)
    finally:
        client.close()
    if pending:
        raise StartError(
            f"MongoDB {version} answers, and misses migrations: {', '.join(pending)}; run `muster migrate`."
        )
    return f"MongoDB {version} answers, its database {settings.mongodb_database} is up to date"


async def _redis(settings: Settings) -> str:
    if settings.redis_url is None:
        return f"embedded, {redis.binary()}"
    async with Redis.from_url(settings.redis_url.get_secret_value(), socket_connect_timeout=5) as client:
        info = await client.info()
    # Not a fault: jobs are in MongoDB, and the sweep sends again what Redis forgets.
    kept = (
        "append-only" if info["aof_enabled"] else "not append-only, so a crash delays jobs: `appendonly yes` is better"
    )
    return f"Redis {info['redis_version']} answers, {kept}"


async def _attio(settings: Settings) -> str:
    assert settings.attio_api_key is not None  # noqa: S101  else nobody asks
    found = await whose(settings.attio_api_key, settings)
    if found.missing_scopes:
        raise StartError(
            f"The key of MUSTER_ATTIO_API_KEY lacks {', '.join(found.missing_scopes)}: not all can be read."
        )
    return f"the key belongs to the workspace {found.workspace_name or found.workspace_id}"

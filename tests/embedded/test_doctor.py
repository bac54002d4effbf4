"""`muster doctor`: one line per check, and what to do where one fails."""

import socket
from pathlib import Path

import git
import pytest
from pydantic import SecretStr

from muster.embedded import doctor, ports
from muster.embedded.servers import Addresses
from muster.resources import Resources
from muster.sandbox.attio import KEY, AttioSandbox
from muster.settings import Settings


async def failures(settings: Settings) -> dict[str, str]:
    """What is wrong, by check."""
    return {finding.name: finding.detail for finding in await doctor.examine(settings) if not finding.ok}


async def test_nothing_is_wrong_with_a_fresh_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first start, too; and looking leaves nothing behind."""
    for name in ("MUSTER_MONGODB_URI", "MUSTER_REDIS_URL", "MUSTER_AUTH_SECRET", "MUSTER_AUTH_JWKS_URL"):
        monkeypatch.delenv(name, raising=False)
    assert await failures(Settings(data_dir=tmp_path / "data", port=ports.free_port())) == {}
    assert list(tmp_path.iterdir()) == []


async def test_no_git_or_an_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.git_commands, "version", lambda: (2, 30, 2))
    assert (await failures(Settings(data_dir=tmp_path)))["git"].startswith("git 2.30.2 is too old")
    monkeypatch.undo()
    monkeypatch.setattr(git.Git, "GIT_PYTHON_GIT_EXECUTABLE", "no-such-git")
    assert "apt-get install git" in (await failures(Settings(data_dir=tmp_path)))["git"]


async def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as taken:
        found = await failures(Settings(data_dir=tmp_path, port=taken.getsockname()[1]))
    assert "address already in use" in found["API address"]


async def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert "is not a folder" in (await failures(Settings(data_dir=tmp_path / "data")))["data folder"]


async def test_a_secret_that_others_can_read(tmp_path: Path) -> None:
    (tmp_path / "auth-secret").write_text("a secret of more than thirty-two bytes")
    (tmp_path / "auth-secret").chmod(0o644)
    assert "chmod 600" in (await failures(Settings(data_dir=tmp_path)))["data folder"]
    (tmp_path / "auth-secret").chmod(0o600)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "PRJ-1.env").touch(mode=0o640)
    assert "PRJ-1.env" in (await failures(Settings(data_dir=tmp_path)))["data folder"]


async def test_a_short_signing_key(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "auth_secret": "short"})
    assert "shorter than 32 bytes" in (await failures(settings))["signing key"]


async def test_servers_that_are_up_to_date(resources: Resources) -> None:
    """The version, and that every migration ran."""
    findings = {finding.name: finding for finding in await doctor.examine(resources.settings)}
    assert findings["MongoDB"].ok
    assert "is up to date" in findings["MongoDB"].detail
    assert findings["Redis"].ok
    assert findings["Redis"].detail.endswith("append-only")


async def test_migrations_that_did_not_run(servers: Addresses, tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"data_dir": tmp_path, "mongodb_uri": servers.mongodb_uri, "mongodb_database": "nobody_migrated_this"}
    )
    assert "run `muster migrate`" in (await failures(settings))["MongoDB"]


async def test_a_redis_that_does_not_answer(tmp_path: Path) -> None:
    redis_url = f"redis://127.0.0.1:{ports.free_port()}"
    settings = Settings.model_validate({"data_dir": tmp_path, "redis_url": redis_url})
    assert "Redis" in await failures(settings)


async def test_an_attio_key_that_works_lacks_something_or_is_no_good(
    tmp_path: Path, attio: AttioSandbox, attio_server: tuple[AttioSandbox, str]
) -> None:
    """Attio is asked only where there is a key."""
    without = Settings(data_dir=tmp_path, attio_base_url=f"{attio_server[1]}/v2")
    assert "Attio" not in {found.name for found in await doctor.examine(without)}
    given = without.model_copy(update={"attio_api_key": SecretStr(KEY)})

    async def finding() -> doctor.Finding:
        return next(found for found in await doctor.examine(given) if found.name == "Attio")

    assert await finding() == doctor.Finding("Attio", True, "the key belongs to the workspace Sandbox (not Attio)")
    attio.keys[KEY].scopes = "record_permission:read"
    assert "list_entry:read" in (await finding()).detail
    attio.keys[KEY].is_active = False
    assert (await finding()).ok is False
    assert attio.seen == ["GET /v2/self"] * 3

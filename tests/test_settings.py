"""Where settings come from, and what is said about one that does not hold."""

import os
from pathlib import Path

import pytest

from muster.errors import StartError
from muster.settings import load_settings, process_environment


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working folder, and none of this shell's settings."""
    for name in [name for name in os.environ if name.startswith("MUSTER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_environment_beats_the_data_folder_beats_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this order, setting by setting."""
    Path("data").mkdir()
    Path(".env").write_text("MUSTER_DATA_DIR=data\nMUSTER_PORT=1\nMUSTER_HOST=first\nMUSTER_MONGODB_DATABASE=lowest\n")
    Path("data/.env.local").write_text("MUSTER_PORT=2\nMUSTER_HOST=second\n")
    monkeypatch.setenv("MUSTER_PORT", "3")
    settings = load_settings()
    assert (settings.port, settings.host, settings.mongodb_database) == (3, "second", "lowest")
    assert settings.data_path == Path("data").absolute()


def test_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files pass settings that nobody set as empty ones."""
    monkeypatch.setenv("MUSTER_MONGODB_URI", "")
    assert load_settings().mongodb_uri is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MUSTER_PORT", "no number"),
        ("MUSTER_PORT", "70000"),
        ("MUSTER_MONGODB_URI", "http://user:canary@host"),
        ("MUSTER_REDIS_URL", "canary"),
    ],
)
def test_a_setting_that_does_not_hold_is_named_without_its_value(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a secret."""
    monkeypatch.setenv(name, value)
    with pytest.raises(StartError) as caught:
        load_settings()
    assert name in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_child_process_sees_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Secrets too, from whatever file they came; and from any folder."""
    Path(".env").write_text("MUSTER_AUTH_SECRET=secret\nMUSTER_DEMO=0\nMUSTER_DATA_DIR=data\n")
    settings = load_settings()
    for name, value in process_environment(settings).items():
        monkeypatch.setenv(name, value)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert load_settings() == settings
    assert settings.data_path == tmp_path / "data"


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by repr nor by str."""
    monkeypatch.setenv("MUSTER_AUTH_SECRET", "canary")
    monkeypatch.setenv("MUSTER_MONGODB_URI", "mongodb://user:canary@host/")
    settings = load_settings()
    assert "canary" not in f"{settings} {settings!r}"


@pytest.mark.parametrize(
    ("address", "holds"),
    [
        ("https://api.attio.com/v2", True),
        ("https://proxy.example.com/attio/v2/", True),
        ("http://127.0.0.1:8100/v2", True),
        ("http://localhost:8100/v2", True),
        ("http://[::1]:8100/v2", True),
        ("http://sandbox:8100/v2", True),
        ("http://api.attio.com/v2", False),
        ("http://127.evil.example/v2", False),
        ("ftp://api.attio.com", False),
        ("api.attio.com/v2", False),
        ("https://", False),
    ],
)
def test_the_attio_key_goes_out_encrypted_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, address: str, holds: bool
) -> None:
    """In the clear only to this machine, or to a stand-in in the same network of containers."""
    monkeypatch.setenv("MUSTER_ATTIO_BASE_URL", address)
    if holds:
        assert load_settings().attio_base_url == address.rstrip("/")
    else:
        with pytest.raises(StartError, match="MUSTER_ATTIO_BASE_URL"):
            load_settings()

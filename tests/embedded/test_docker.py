"""What can be said about `docker/` without a Docker engine: names agree with settings and commands."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from muster.cli import main
from muster.settings import Settings

TOP = Path(__file__).parents[2]
OURS = ("migrate", "api", "worker", "watch")
SETTINGS = {f"MUSTER_{name.upper()}" for name in Settings.model_fields}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file, its anchors resolved."""
    loaded: dict[str, Any] = yaml.safe_load((TOP / "docker" / "compose.yaml").read_text())
    return loaded


def test_every_process_runs_a_command_that_exists(compose: dict[str, Any]) -> None:
    """`migrate` runs once and ends before the others start."""
    services = compose["services"]
    assert set(services) == {"mongodb", "redis", *OURS}
    for name in OURS:
        assert services[name]["command"] == [name]
        assert name in main.commands
    for name in set(OURS) - {"migrate"}:
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
        assert services[name]["restart"] == "unless-stopped"
    assert services["migrate"]["restart"] == "no"


def test_every_setting_that_is_passed_exists(compose: dict[str, Any]) -> None:
    """A misspelt one would be ignored."""
    dockerfile = (TOP / "docker" / "Dockerfile").read_text()
    assert set(re.findall(r"MUSTER_[A-Z_]+(?==)", dockerfile)) <= SETTINGS
    for name in OURS:
        assert set(compose["services"][name]["environment"]) <= SETTINGS


def test_every_variable_is_in_the_example(compose: dict[str, Any]) -> None:
    """Secrets have no default: compose refuses to start without them."""
    text = (TOP / "docker" / "compose.yaml").read_text()
    asked = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text))
    offered = set(re.findall(r"^([A-Z_]+)=", (TOP / "docker" / "example.env").read_text(), re.MULTILINE))
    assert asked - offered <= {"MUSTER_MONGODB_DATABASE"}
    for secret in ("MUSTER_AUTH_SECRET", "REDIS_PASSWORD"):
        assert all(found == ":?" for found in re.findall(rf"\${{{secret}(..)", text))
    assert compose["services"]["api"]["environment"]["MUSTER_MONGODB_URI"].endswith("?replicaSet=muster&w=majority")


def test_servers_publish_nothing_and_keep_their_data(compose: dict[str, Any]) -> None:
    """On an internal network; healthy means that they take writes."""
    for name in ("mongodb", "redis"):
        service = compose["services"][name]
        assert "ports" not in service
        assert service["networks"] == ["inside"]
        assert service["healthcheck"]["test"]
        volume = service["volumes"][0].partition(":")[0]
        assert volume in compose["volumes"]
    assert compose["networks"]["inside"]["internal"] is True
    assert compose["services"]["mongodb"]["command"][:3] == ["mongod", "--replSet", "muster"]
    assert "--appendonly yes" in compose["services"]["redis"]["command"][2]


def test_the_build_sees_what_the_package_needs() -> None:
    """`.dockerignore` lets nothing else through, and none of it is missing."""
    allowed = {
        line.removeprefix("!") for line in (TOP / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert all((TOP / name).exists() for name in allowed)
    assert allowed == {
        "requirements.txt", "pyproject.toml", "README.md", "src", "workers", "rules", "alembic-free-migrations"
    }  # fmt: skip

"""Where the embedded servers of a running `muster up` are, for commands in another shell."""

import json
from pathlib import Path

from pydantic import SecretStr

from muster.embedded.data_folder import is_claimed, write_private
from muster.settings import Settings

FILE = "servers.json"
NAMES = ("mongodb_uri", "redis_url")


def write_addresses(folder: Path, settings: Settings) -> None:
    """Keep the addresses that these settings name in the data folder (0600)."""
    found = {name: value.get_secret_value() for name in NAMES if (value := getattr(settings, name)) is not None}
    write_private(folder / FILE, json.dumps(found))


def with_running_servers(settings: Settings) -> Settings:
    """The settings, with the addresses that a `muster up` on the same data folder uses where they name none.

    Without a running one they come back as they are.
    """
    missing = [name for name in NAMES if getattr(settings, name) is None]
    file = settings.data_path / FILE
    if not missing or not file.exists() or not is_claimed(settings.data_path):
        return settings
    known = json.loads(file.read_text())
    return settings.model_copy(update={name: SecretStr(known[name]) for name in missing if name in known})

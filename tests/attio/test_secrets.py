"""Secrets of a project in their file."""

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from muster.attio.secrets import API_KEY, forget_secrets, keep_secret, secret_of
from muster.errors import Unavailable
from muster.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def test_several_secrets_share_the_file_and_go_one_by_one(folder: Settings) -> None:
    assert secret_of("PRJ-1", API_KEY, folder) is None
    keep_secret("PRJ-1", API_KEY, SecretStr("one"), folder)
    keep_secret("PRJ-1", "MUSTER_ATTIO_WEBHOOK_SECRET", SecretStr("a=b=="), folder)
    keep_secret("PRJ-1", API_KEY, SecretStr("two"), folder)
    assert secret_of("PRJ-1", API_KEY, folder) == SecretStr("two")
    assert secret_of("PRJ-1", "MUSTER_ATTIO_WEBHOOK_SECRET", folder) == SecretStr("a=b==")
    assert secret_of("PRJ-2", API_KEY, folder) is None
    keep_secret("PRJ-1", API_KEY, None, folder)
    assert secret_of("PRJ-1", "MUSTER_ATTIO_WEBHOOK_SECRET", folder) is not None
    keep_secret("PRJ-1", "MUSTER_ATTIO_WEBHOOK_SECRET", None, folder)
    assert list((folder.data_path / "secrets").iterdir()) == []


def test_a_file_by_hand_may_have_comments_and_quotes(folder: Settings) -> None:
    file = folder.data_path / "secrets" / "PRJ-1.env"
    file.parent.mkdir(parents=True)
    file.write_text(f'# mine\n\n{API_KEY} = "abc"\n')
    assert secret_of("PRJ-1", API_KEY, folder) == SecretStr("abc")


def test_nobody_else_may_read_it_whatever_the_umask(folder: Settings) -> None:
    folder.data_path.joinpath("secrets").mkdir(parents=True, mode=0o755)
    keep_secret("PRJ-1", API_KEY, SecretStr("one"), folder)
    file = folder.data_path / "secrets" / "PRJ-1.env"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]


def test_a_project_that_is_gone_leaves_nothing(folder: Settings) -> None:
    forget_secrets("PRJ-1", folder)
    keep_secret("PRJ-1", API_KEY, SecretStr("one"), folder)
    forget_secrets("PRJ-1", folder)
    assert secret_of("PRJ-1", API_KEY, folder) is None


@pytest.mark.parametrize("project_id", ["../PRJ-1", "", "a/b", "a\0b", "PRJ-1\n"])
def test_an_id_that_is_a_path_is_refused(folder: Settings, project_id: str) -> None:
    with pytest.raises(ValueError, match="no project"):
        secret_of(project_id, API_KEY, folder)


def test_what_cannot_be_written_or_read_is_told_without_the_secret(folder: Settings) -> None:
    folder.data_path.mkdir(parents=True)
    folder.data_path.joinpath("secrets").write_text("a file in its place")
    with pytest.raises(Unavailable) as caught:
        keep_secret("PRJ-1", API_KEY, SecretStr("one-canary"), folder)
    assert "one-canary" not in str(caught.value)
    with pytest.raises(Unavailable):
        secret_of("PRJ-1", API_KEY, folder)

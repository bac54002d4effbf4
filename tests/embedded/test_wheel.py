"""The wheel holds everything that running needs, and runs from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from muster.embedded import ports

TOP = Path(__file__).parents[2]
IN_THE_WHEEL = {"src/": "", "workers/": "workers/"} | {
    "rules/": "muster/bundled/rules/",
    "alembic-free-migrations/": "muster/bundled/migrations/",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the working tree."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, TOP]
    subprocess.run(build, check=True, capture_output=True)
    return next(folder.glob("muster-*.whl"))


def test_it_holds_every_file_that_running_needs(wheel: Path) -> None:
    """Code, workers, rules, migrations, pages; no caches, no tests, nobody's settings."""
    expected = {
        inside + file.relative_to(TOP / outside).as_posix()
        for outside, inside in IN_THE_WHEEL.items()
        for file in (TOP / outside).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected
    assert {
        "muster/cli.py",
        "workers/main.py",
        "muster/bundled/rules/fields.yaml",
        "muster/bundled/migrations/20260101000000_first.py",
    } <= held


def test_it_runs_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    """Installed apart from the repository, `muster up` starts, and its files are those of the wheel."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (tmp_path / "workers.py").write_text("raise SystemExit('the folder it is started in must not matter')")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")}
    environment = {**inherited, "PYTHONPATH": str(site), "MUSTER_PORT": str(ports.free_port()), "MUSTER_DEMO": "0"}
    muster = [sys.executable, "-P", "-m", "muster"]
    doctor = subprocess.run(
        [*muster, "doctor"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert f"rules and migrations are in {site / 'muster' / 'bundled'}" in doctor.stdout
    with subprocess.Popen(
        [*muster, "up"], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as up:
        assert up.stdout
        assert up.stdout.readline().startswith("Muster is ready at")
        up.terminate()
        printed = up.stdout.read()
    assert up.returncode == 0, printed
    assert "ended" not in printed, "no service failed"

"""The distribution holds what it says: both packages, their types, their entry points and every exported name."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path
from types import ModuleType

import pytest

import statecore

ROOT = Path(__file__).parents[2]
ADAPTERS = ("statecore_aiortc", "statecore_otel", "statecore_sql", "statecore_web")
PACKAGES = {"statecore": ROOT / "statecore", **{name: ROOT / "adapters" / name for name in ADAPTERS}}
ENTRY_POINTS = list(metadata.distribution("statecore").entry_points)
HEAVY = {
    "asyncio",
    "socket",
    "numpy",
    "av",
    "aiortc",
    "joserfc",
    "psycopg",
    "rich",
    "PIL",
    "hypothesis",
    "statecore_aiortc",
}


def modules() -> Iterator[str]:
    """The name of every module of both packages, as installed."""
    for package in map(importlib.import_module, PACKAGES):
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not found.name.endswith("__main__"):
                yield found.name


def run_isolated(code: str) -> str:
    """What `code` prints in a fresh interpreter that sees the installed packages only."""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, env={})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in the wheel, built from the source archive, which is built from the tree."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=out)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_wheel_holds_every_module_of_both_packages(wheel: set[str]) -> None:
    """The wheel that comes of the source archive holds each file of both packages, by its import name."""
    for name, folder in PACKAGES.items():
        files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        expected = {f"{name}/{path.relative_to(folder).as_posix()}" for path in files}
        assert f"{name}/__init__.py" in expected
        assert expected <= wheel


def test_wheel_holds_nothing_else(wheel: set[str]) -> None:
    """The wheel installs the two packages and its metadata, and no tests, docs or package named `adapters`."""
    tops = {name.split("/")[0] for name in wheel}
    assert tops == {*PACKAGES, f"statecore-{metadata.version('statecore')}.dist-info"}


@pytest.mark.parametrize("package", PACKAGES)
def test_package_says_that_it_is_typed(package: str) -> None:
    """Type checkers find the installed package's own annotations."""
    assert resources.files(package).joinpath("py.typed").is_file()


def test_entry_points_are_the_promised_ones() -> None:
    """The command and the adapters are registered under their documented groups and names."""
    assert {(point.group, point.name) for point in ENTRY_POINTS} == {
        ("console_scripts", "statecore"),
        ("pytest11", "statecore"),
        ("statecore.media", "aiortc"),
        ("statecore.media", "fake"),
        ("statecore.signaling", "websocket"),
        ("statecore.store", "memory"),
        ("statecore.store", "postgresql"),
        ("statecore.store", "sqlite"),
    }


@pytest.mark.parametrize("point", ENTRY_POINTS, ids=lambda point: f"{point.group}:{point.name}")
def test_entry_point_loads(point: metadata.EntryPoint) -> None:
    """What an entry point names exists and can be called; a plugin is a module."""
    loaded = point.load()
    assert isinstance(loaded, ModuleType) if point.group == "pytest11" else callable(loaded)


@pytest.mark.parametrize("name", list(modules()))
def test_exported_names_exist(name: str) -> None:
    """Every name in a module's `__all__` can be had from it, lazily exported ones included, and stands there once."""
    module: ModuleType = importlib.import_module(name)
    exported: list[str] = list(getattr(module, "__all__", []))
    assert len(exported) == len(set(exported))
    assert [each for each in exported if not hasattr(module, each)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_package_lists_its_public_names(package: str) -> None:
    """The package exports by name, and what it exports is public."""
    exported = importlib.import_module(package).__all__
    assert exported
    assert [name for name in exported if name.startswith("_") and name != "__version__"] == []


def test_star_import_works_in_a_fresh_interpreter() -> None:
    """`from statecore import *` gives every exported name to a program that has imported nothing else."""
    code = "import statecore; from statecore import *; print(*(n for n in statecore.__all__ if n not in globals()))"
    assert run_isolated(code).split() == []


def test_lazy_names_are_listed() -> None:
    """`dir(statecore)` says what can be had, also before it was; any other name is an AttributeError that tells it."""
    assert dir(statecore) == sorted(statecore.__all__)
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        statecore.nothing_of_ours  # noqa: B018 - the look-up is what is tested


def test_import_is_light() -> None:
    """`import statecore` loads no event loop, no socket, no adapter and no optional dependency."""
    loaded = set(json.loads(run_isolated("import json, sys, statecore; print(json.dumps(sorted(sys.modules)))")))
    assert "statecore" in loaded
    assert loaded & HEAVY == set()


def test_the_pytest_plugin_is_light() -> None:
    """Nobody who runs pytest beside statecore waits for it: the plugin loads no event loop and nothing of the kit."""
    code = "import sys, pytest; old = {*sys.modules}; import statecore.testing.plugin; print(*{*sys.modules} - old)"
    loaded = set(run_isolated(code).split())
    assert "statecore.testing.plugin" in loaded
    ours = {name for name in loaded if name.startswith("statecore.") and not name.startswith("statecore.errors._")}
    assert ours == {"statecore.errors", "statecore.testing", "statecore.testing.plugin"}
    assert loaded & HEAVY == set()


def test_version_is_the_distributions() -> None:
    """`statecore.__version__` is the version of the installed distribution."""
    assert statecore.__version__ == metadata.version("statecore")

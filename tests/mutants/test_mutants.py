"""The mutants that were written by hand fit the code as it is; `make mutants` runs them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import statecore


@pytest.fixture
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.mark.usefixtures("_here")
def test_each_mistake_can_still_be_made() -> None:
    """What each one changes stands where it is looked for, once; what comes of it is Python; no two are the same."""
    from byhand import EQUIVALENT, mutants

    made = mutants(Path(statecore.__file__).parent)
    assert len(made) >= 40
    assert len({each.name for each in made}) == len({each.source for each in made}) == len(made)
    assert EQUIVALENT.keys() <= {each.name for each in made}
    for each in made:
        ast.parse(each.source)


@pytest.mark.usefixtures("_here")
def test_only_the_changed_module_is_laid_over() -> None:
    """The text that was changed is what is run, under the module's own name."""
    from run import Mutant, Overlay

    package = Path(statecore.__file__).parent
    overlay = Overlay(package, Mutant("a mark", "switchboard/_views.py", "MARK = __name__"))
    assert overlay.find_spec("statecore.switchboard", None) is None
    spec = overlay.find_spec("statecore.switchboard._views", None)
    assert spec is not None
    from importlib.util import module_from_spec

    module = module_from_spec(spec)
    overlay.exec_module(module)
    assert module.MARK == "statecore.switchboard._views"
    root = Overlay(package, Mutant("a mark", "switchboard/__init__.py", "")).find_spec("statecore.switchboard", None)
    assert root is not None
    assert root.submodule_search_locations == [str(package / "switchboard")]

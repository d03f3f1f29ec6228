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
    from forked import Mutant, Overlay

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


@pytest.mark.usefixtures("_here")
def test_a_change_meets_the_tests_that_run_its_statement() -> None:
    """A line within a statement of several counts for the whole of it; what runs on import, for every test."""
    from record import Record, split

    before = "A = 1\ndef f(x):\n    if x:\n        return g(\n            1,\n            2,\n        )\n    return 3\n"
    times = {"slow": 2.0, "quick": 0.5, "other": 1.0}
    record = Record({}, times, {"a.py": {4: ["slow"], 3: ["quick", "slow"], 8: ["other"]}}, {"a.py": {1, 2}}, [])
    assert list(record.watchers("a.py", before, before.replace("2,", "3,"))) == ["slow"]
    assert list(record.watchers("a.py", before, before.replace("if x", "if not x"))) == ["quick", "slow"]
    assert list(record.watchers("a.py", before, before.replace("A = 1", "A = 2"))) == ["quick", "other", "slow"]
    assert record.watchers("b.py", "x = 1\n", "x = 2\n") == {}
    assert [list(part) for part in split(record.watchers("a.py", before, f"B{before}"), 1.6)] == [
        ["quick", "other"],
        ["slow"],
    ]


@pytest.mark.usefixtures("_here")
def test_what_can_be_changed_where_it_stands() -> None:
    """The inside of functions can, whatever they are in; what a module or a class does when it is made cannot."""
    from standing import functions

    before = "A = 1\nclass C:\n    b = 2\n    @property\n    def f(self):\n        return [A for _ in self.b]\n"

    def differ(old: str, new: str) -> list[str] | None:
        pairs = functions(before, before.replace(old, new), "file.py")
        return None if pairs is None else [code.co_qualname for code, _ in pairs]

    assert differ("A for", "-A for") == ["C.f"]
    assert differ("A", "A") == []
    assert differ("A = 1", "A = None") is None
    assert differ("b = 2", "b = 2.0") is None
    assert differ("@property", "@cached") is None
    assert differ("return", "return =") is None

"""The tests that the documentation shows are tests, and pass."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

_BLOCK = re.compile(r"^<!-- run by pytest -->\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TESTS = {
    path: "\n".join(_BLOCK.findall(path.read_text(encoding="utf-8")))
    for path in sorted(Path(__file__).parents[2].glob("docs/**/*.md"))
}
PAGES = [path for path, code in _TESTS.items() if code]


def test_pages_are_found() -> None:
    """The how-tos of the test kit are among what is run."""
    assert {"conformance.md", "property-tests.md", "pytest.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tests_of_a_page_pass(page: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page that are marked so are one module of tests: there are some, and none fails or warns. What is
    optional may be skipped."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(_TESTS[page])
    result = pytester.runpytest_subprocess("-p", "statecore.testing.plugin", "--strict-markers", "-W", "error", "-q")
    assert result.parseoutcomes().keys() - {"skipped"} == {"passed"}

"""A module that one can hold in one's head."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST = 500
MODULES = [
    path for folder in ("statecore", "adapters") for kind in ("*.py", "*.js") for path in (ROOT / folder).rglob(kind)
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_longer_than_one_can_keep_in_mind(path: Path) -> None:
    """What grows beyond 500 lines has two subjects, and is to become two."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST

"""Stores in a database: a SQLite file for one service, PostgreSQL for one or several.

Each holds one connection on a thread of its own, which keeps the loop free. PostgreSQL needs `statecore[postgres]`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from statecore.errors import AdapterMissing

from ._sqlite import SqliteStore

if TYPE_CHECKING:
    from ._bus import PostgresBus
    from ._postgres import PostgresStore

_LATER = {"PostgresBus": "_bus", "PostgresStore": "_postgres"}


def __getattr__(name: str) -> Any:
    """What needs a driver is loaded on first use: a file needs none."""
    if name not in _LATER:
        raise AttributeError(f"module 'statecore_sql' has no attribute {name!r}")
    try:
        value = getattr(import_module(f".{_LATER[name]}", __name__), name)
    except ImportError as missing:
        raise AdapterMissing(what="psycopg", extra="'statecore[postgres]'") from missing
    globals()[name] = value
    return value


__all__ = ["PostgresBus", "PostgresStore", "SqliteStore"]

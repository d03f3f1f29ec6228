"""Stores in a database: a SQLite file for one service, PostgreSQL for one or several.

Each holds one connection on a thread of its own, which keeps the loop free. PostgreSQL needs `statecore[postgres]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statecore.errors import AdapterMissing

from ._sqlite import SqliteStore

if TYPE_CHECKING:
    from ._postgres import PostgresStore


def __getattr__(name: str) -> Any:
    """PostgresStore is made on first use: a file needs no driver."""
    if name != "PostgresStore":
        raise AttributeError(f"module 'statecore_sql' has no attribute {name!r}")
    try:
        from ._postgres import PostgresStore  # noqa: PLC0415 - see above
    except ImportError as missing:
        raise AdapterMissing(what="psycopg", extra="'statecore[postgres]'") from missing
    globals()[name] = PostgresStore
    return PostgresStore


__all__ = ["PostgresStore", "SqliteStore"]

"""The directory's named queries, read once."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from shard.named_queries import load_queries

SQL_FOLDER: Final = files("router").joinpath("sql")
QUERIES: Final = load_queries(SQL_FOLDER.joinpath("queries.sql").read_text(encoding="utf-8"))

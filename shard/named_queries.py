"""SQL lives in ``.sql`` files; this reads the named queries out of one.

A query starts with a line ``-- name: word``, may be followed by comment lines, and ends at the
next name or at the end of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import LiteralString


def load_queries(text: str) -> Mapping[str, LiteralString]:
    """Split the text of a ``.sql`` file into its queries by name."""
    queries: dict[str, LiteralString] = {}
    for block in text.split("-- name: ")[1:]:
        name, _, body = block.partition("\n")
        if name.strip() in queries:
            raise ValueError(f"the query {name.strip()!r} stands twice in one file")
        queries[name.strip()] = body.strip()
    return queries


_NAMES = ("queries.sql", "reads.sql", "items.sql", "trace.sql")
_FILES = [files("shard") / "sql" / name for name in _NAMES]
QUERIES = load_queries("\n".join(file.read_text() for file in _FILES))
"""The named queries of these files in ``shard/sql``."""

"""Array literals: PostgreSQL reads from them exactly what was written."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest

from shard.array_literals import of_bytes, of_dates, of_ids, of_numbers, of_texts, of_words
from shard.connections import connect
from tests.support.databases import Databases

ID = UUID("0193c0de-0000-7000-8000-0000000000ff")


async def _read_back(servers: Databases, literal: str, type_name: str) -> Sequence[object]:
    connection = await connect(servers.shard_dsns[1])
    async with connection:
        cursor = await connection.execute(f"SELECT %s::{type_name}[]", (literal,))
        row = await cursor.fetchone()
    assert row is not None
    return list(row[0])


@pytest.mark.parametrize(
    ("literal", "type_name", "expected"),
    [
        (of_numbers([1, None, -(2**63)]), "bigint", [1, None, -(2**63)]),
        (of_numbers([Decimal("-0.01"), None]), "numeric", [Decimal("-0.01"), None]),
        (of_words(["client", "payroll"]), "text", ["client", "payroll"]),
        (of_ids([ID]), "uuid", [ID]),
        (of_bytes([b"", b'\x00"\\,{}', b"\xff"]), "bytea", [b"", b'\x00"\\,{}', b"\xff"]),
        (of_dates([date(2026, 11, 21), None]), "date", [date(2026, 11, 21), None]),
        (of_texts(["NULL", None, "", " ", 'a"b', "c\\d", "{e,f}"]), "text",
         ["NULL", None, "", " ", 'a"b', "c\\d", "{e,f}"]),
        (of_texts([]), "text", []),
    ],
)  # fmt: skip
async def test_each_type_comes_back(
    servers: Databases, literal: str, type_name: str, expected: list[object]
) -> None:
    """What is written as a literal is what the server reads, nulls and empty arrays included."""
    assert expected == await _read_back(servers, literal, type_name)


async def test_any_text_comes_back(servers: Databases, seed: int) -> None:
    """No text ends its element early, or is taken for a null."""
    rng = random.Random(seed)
    texts: list[str | None] = [
        "".join(rng.choices("{}\\\",;: \t\nNULLa'é€😀", k=rng.randrange(12))) for _ in range(3_000)
    ]
    assert texts == await _read_back(servers, of_texts(texts), "text")

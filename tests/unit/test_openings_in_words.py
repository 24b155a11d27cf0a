"""Files of accounts to open, and changes told in words: what is understood, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from router.accounts import Opening
from router.cli.account_change import read_change
from router.cli.opening_file import OpeningFormat, copied
from router.limits import OPENING_FILE_CHUNK_LINES
from shard.accounts import AccountChange, AccountKind, AccountStatus
from shard.errors import Malformed

NOTHING: Mapping[str, None] = dict.fromkeys(
    ("status", "frozen_for", "overdraft_limit", "minimum_balance", "metadata")
)


async def read(folder: Path, text: str | bytes) -> tuple[OpeningFormat, list[list[Opening]]]:
    """What a file with this text is, and its openings by chunk."""
    path = folder / "accounts"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    async with copied(path) as file:
        chunks = [[opening for _, opening in chunk] for chunk in file.chunks()]
    assert file.count == sum(map(len, chunks))
    return file.form, chunks


COLUMNS = "minimum_balance,customer,reference,currency,kind,name,overdraft_limit"
FULL = Opening(
    "C-1", "R", "EUR", AccountKind.INTERNAL, "Müller, Ada", Decimal(0), minimum_balance=Decimal(5)
)
READABLE = {
    "every column": (f'{COLUMNS}\n5,C-1,R,EUR,internal,"Müller, Ada",0.00\n', [FULL]),
    "needed columns": ("customer,reference,currency\r\nC,R,EUR\r\n", [Opening("C", "R", "EUR")]),
    "empty fields": ("customer,reference,currency,name\nC,R,EUR,\n", [Opening("C", "R", "EUR")]),
    "empty lines": ("customer,reference,currency\n\nC,R,EUR\n\n", [Opening("C", "R", "EUR")]),
    "byte order mark": ("\ufeffcustomer,reference,currency\nC,R,EUR", [Opening("C", "R", "EUR")]),
    "no floor": (
        "customer,reference,currency,kind,overdraft_limit\nC,R,EUR,equity,none\n",
        [Opening("C", "R", "EUR", AccountKind.EQUITY, overdraft_limit=None)],
    ),
    "only a header": ("customer,reference,currency\n", []),
    "JSON": (
        '\n{"reference": "R", "customer": "C", "currency": "EUR"}\n',
        [Opening("C", "R", "EUR")],
    ),
    "JSON without floor": (
        '{"reference":"R","customer":"C","currency":"EUR","kind":"asset","overdraft_limit":null}',
        [Opening("C", "R", "EUR", AccountKind.ASSET, overdraft_limit=None)],
    ),
}


@pytest.mark.parametrize("case", READABLE)
async def test_what_a_file_asks_for(tmp_path: Path, case: str) -> None:
    """Columns in any order, optional ones left out; JSON is known by its first character."""
    text, openings = READABLE[case]
    form, chunks = await read(tmp_path, text)
    assert openings == [opening for chunk in chunks for opening in chunk]
    assert (OpeningFormat.NDJSON if "JSON" in case else OpeningFormat.CSV) is form


async def test_a_file_is_read_in_chunks(tmp_path: Path) -> None:
    """None is larger than the limit, nothing is lost between them."""
    count = 2 * OPENING_FILE_CHUNK_LINES + 1
    lines = "".join(f"C-{n},R,EUR\n" for n in range(count))
    _, chunks = await read(tmp_path, "customer,reference,currency\n" + lines)
    assert [OPENING_FILE_CHUNK_LINES, OPENING_FILE_CHUNK_LINES, 1] == list(map(len, chunks))
    assert [f"C-{n}" for n in range(count)] == [each.customer for part in chunks for each in part]


BAD_FILES = {
    "empty": ("", "empty"),
    "nothing but spaces": ("\ufeff \n\n", "empty"),
    "one array": ('[{"customer": "C", "reference": "R", "currency": "EUR"}]', "array"),
    "unknown field": ("customer,reference,currency,colour\n", "Line 1"),
    "field twice": ("customer,reference,currency,customer\n", "Line 1"),
    "field missing": ("customer,reference\nC,R\n", "Line 1"),
    "too few fields": ("customer,reference,currency\nC,R\n", "Line 2"),
    "no customer": ("customer,reference,currency\n,R,EUR\n", "Line 2"),
    "currency": ("customer,reference,currency\nC,R,EUR\nC,S,XXX\n", "Line 3"),
    "kind": ("customer,reference,currency,kind\nC,R,EUR,suspense\n", "Line 2"),
    "minimum beside an overdraft": (
        "customer,reference,currency,overdraft_limit,minimum_balance\nC,R,EUR,1,1\n", "Line 2"
    ),
    "customer without floor": (
        "customer,reference,currency,overdraft_limit\nC,R,EUR,none\n", "Line 2"
    ),
    "quote without end": ('customer,reference,currency\n"C,R,EUR\n', "Line 2"),
    "a NUL": ("customer,reference,currency\nC\0,R,EUR\n", "Line 2"),
    "a line without end": ("customer" * 10_000, "Line 1"),
    "broken JSON": ('{"customer": "C"\n', "Line 1"),
    "deep JSON": ('{"customer": ' + "[" * 9_000 + "\n", "Line 1"),
    "a number": ('{"customer": 5, "reference": "R", "currency": "EUR"}\n', "Line 1"),
    "a key twice": (
        '{"customer": "C", "customer": "D", "reference": "R", "currency": "EUR"}\n', "Line 1"
    ),
    "a list": ('{"customer": "C", "reference": "R", "currency": "EUR"}\n[]\n', "Line 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
async def test_a_bad_file_is_refused_with_its_first_wrong_line(tmp_path: Path, case: str) -> None:
    """Whatever it is, it is malformed, and nothing of it is read any further."""
    text, line = BAD_FILES[case]
    with pytest.raises(Malformed) as refused:
        await read(tmp_path, text)
    assert line in refused.value.detail


async def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """In UTF-8, or not at all."""
    with pytest.raises(Malformed):
        await read(tmp_path, "customer,reference,currency\nMüller,R,EUR".encode("latin-1"))


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ({"status": "open"}, AccountChange(status=AccountStatus.OPEN)),
        (
            {"status": "frozen"},
            AccountChange(status=AccountStatus.FROZEN, credits_when_frozen=False),
        ),
        (
            {"status": "frozen", "frozen_for": "debits"},
            AccountChange(status=AccountStatus.FROZEN, credits_when_frozen=True),
        ),
        ({"overdraft_limit": "5.5"}, AccountChange(overdraft_limit=Decimal("5.5"))),
        ({"minimum_balance": "0"}, AccountChange(minimum_balance=Decimal(0))),
        ({"metadata": ["a=b=c", "d="]}, AccountChange(metadata={"a": "b=c", "d": ""})),
        ({"metadata": []}, AccountChange(metadata={})),
    ],
    ids=str,
)
def test_a_change_in_words(words: dict[str, str], change: AccountChange) -> None:
    """What is not named stays as it is."""
    assert change == read_change(**{**NOTHING, **words})


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"status": "gone"},
        {"frozen_for": "debits"},
        {"status": "open", "frozen_for": "debits"},
        {"status": "frozen", "frozen_for": "credits"},
        {"overdraft_limit": "none"},
        {"overdraft_limit": "-1"},
        {"minimum_balance": "1e3"},
        {"metadata": ["a"]},
        {"metadata": ["a=1", "a=2"]},
    ],
    ids=str,
)
def test_a_change_that_makes_no_sense(words: dict[str, str]) -> None:
    """It is malformed before any bank is asked."""
    with pytest.raises(Malformed):
        read_change(**{**NOTHING, **words})

"""One statement in three forms: the figures agree, and what payers wrote stays text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from lxml import etree

from router.iso20022.camt053 import NAMESPACE
from router.iso20022.iban import Iban
from router.statements import Statement, StatementFormat
from shard.account_numbers import suspense_account
from shard.ids import new_id
from shard.positions import Place, Position
from shard.statements import EntryLine, StatementBounds, StatementBroken
from tests.support.scripted_statement import BOUNDS, ENTRY, ScriptedStatements

pytest.importorskip("pyiso20022", reason="pyiso20022 holds the schema of camt.053 as classes")

LONG_REFERENCE = "R" * 64
AMOUNTS = ("-20.00", "1000.00", "0.01", "-979.99")
Figures = list[tuple[str, str, str]]


def lines_of(*amounts: str, opening: str = "1000.00") -> list[EntryLine]:
    """Bookings of these amounts, each a day after the one before."""
    lines, balance = [], Decimal(opening)
    for n, amount in enumerate(amounts, start=1):
        balance += Decimal(amount)
        line = replace(
            ENTRY,
            seq=40 + n,
            transfer_id=new_id(),
            reference=f"PAY-{n}",
            amount=Decimal(amount),
            balance_after=balance,
            ledger_after=balance,
            business_date=date(2026, 11, n),
            value_date=date(2026, 11, n + 1),
        )
        lines.append(line)
    return lines


def bounds_of(lines: Sequence[EntryLine], opening: str = "1000.00", **changes: Any) -> Any:
    """What a statement of these bookings lies between."""
    closing = Decimal(opening) + sum(line.amount for line in lines)
    start = {0: Position(Place(0, date(2026, 10, 30), 40), Decimal(opening))}
    end = {0: Position(Place(0, date(2026, 11, 21), 40 + len(lines)), closing)}
    return replace(BOUNDS, **({"start": start, "end": end} | changes))


async def written(
    form: StatementFormat, lines: Sequence[EntryLine], bounds: StatementBounds | None = None
) -> bytes:
    """A statement in one form, its bookings read in chunks of two."""
    chunks = [list(lines[n : n + 2]) for n in range(0, len(lines), 2)]
    statements = ScriptedStatements(bounds=bounds or bounds_of(lines), chunks=chunks)
    statement = await statements.open(BOUNDS.account_no)
    return b"".join([piece async for piece in statement.written(form)])


async def rows_of(
    lines: Sequence[EntryLine], bounds: StatementBounds | None = None
) -> list[dict[str, str]]:
    """The CSV's rows by name."""
    text = (await written(StatementFormat.CSV, lines, bounds)).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def foreign_statement(
    lines: Sequence[EntryLine], bounds: StatementBounds | None = None
) -> Any:
    """The camt.053 as classes generated from ISO's schema; wrong names or types are errors."""
    parsers = pytest.importorskip("xsdata.formats.dataclass.parsers")
    serializers = pytest.importorskip("xsdata.formats.dataclass.serializers")
    name = "pyiso20022.camt.camt_053_001_08.camt_053_001_08"
    raw = await written(StatementFormat.CAMT_053, lines, bounds)
    document = parsers.XmlParser().from_bytes(raw, pytest.importorskip(name).Document)
    # The serializer writes in the order of the schema.
    again = etree.fromstring(serializers.XmlSerializer().render(document).encode())
    assert [each.tag for each in again.iter()] == [e.tag for e in etree.fromstring(raw).iter()]
    (statement,) = document.bk_to_cstmr_stmt.stmt
    return statement


def signed(element: Any) -> str:
    """An amount with the sign that stands beside it in words."""
    sign = "-" if element.cdt_dbt_ind.value == "DBIT" else ""
    assert element.amt.ccy == "EUR"
    return f"{sign}{element.amt.value:.2f}"


@pytest.mark.parametrize("amounts", [(), AMOUNTS[:1], AMOUNTS, AMOUNTS * 5])
async def test_the_forms_agree(amounts: tuple[str, ...]) -> None:
    """Balances, bookings, dates and references are the same in JSON, CSV and camt.053."""
    lines = lines_of(*amounts)
    told = json.loads(await written(StatementFormat.JSON, lines))
    opening, *entries, closing = await rows_of(lines)
    foreign = await foreign_statement(lines)
    balances = {bal.tp.cd_or_prtry.cd: signed(bal) for bal in foreign.bal}

    assert ("1000.00", len(amounts)) == (told["opening_balance"], told["entry_count"])
    assert {
        "OPBD": told["opening_balance"],
        "CLBD": told["closing_balance"],
        "CLAV": told["closing_available"],
    } == balances
    assert (told["opening_balance"], told["closing_balance"]) == (
        opening["balance_after"],
        closing["balance_after"],
    )
    names = ("reference", "amount", "business_date", "value_date", "transfer_id")
    json_figures = [tuple(entry[name] for name in names) for entry in told["entries"]]
    csv_figures = [tuple(entry[name] for name in names) for entry in entries]
    assert json_figures == csv_figures
    assert json_figures == [
        (
            entry.ntry_ref,
            signed(entry),
            entry.bookg_dt.dt.to_date().isoformat(),
            entry.val_dt.dt.to_date().isoformat(),
            str(UUID(entry.acct_svcr_ref)),
        )
        for entry in foreign.ntry
    ]
    assert [entry["balance_after"] for entry in told["entries"]] == [
        entry["balance_after"] for entry in entries
    ]


async def test_a_statement_tells_what_it_covers() -> None:
    """The whole JSON document, member by member."""
    told = json.loads(await written(StatementFormat.JSON, [ENTRY], BOUNDS))
    (entry,) = told.pop("entries")

    assert ("-20.00", "980.00", "PAY-17") == (
        entry["amount"], entry["balance_after"], entry["reference"]
    )  # fmt: skip
    assert {
        "account": "2000000123",
        "currency": "EUR",
        "from": "2026-11-01",
        "to": "2026-12-01",
        "opening_balance": "1000.00",
        "entry_count": 1,
        "closing_balance": "980.00",
        "closing_available": "950.00",
        "seq": 41,
    } == told


async def test_a_foreign_reader_finds_each_detail() -> None:
    """Account, period, parties, references and remittance stand where ISO has them."""
    statement = await foreign_statement([ENTRY], BOUNDS)
    (entry,) = statement.ntry
    (details,) = entry.ntry_dtls[0].tx_dtls

    assert Iban().iban_of(2_000_000_123) == statement.acct.id.iban
    assert ("EUR", "BOOK") == (statement.acct.ccy, entry.sts.cd)
    assert ["2026-11-01", "2026-11-21", "2026-11-21"] == [str(bal.dt.dt) for bal in statement.bal]
    period = statement.fr_to_dt
    assert ("2026-11-01T00:00:00", "2026-12-01T00:00:00") == (
        str(period.fr_dt_tm),
        str(period.to_dt_tm),
    )
    assert ("PAY-17", ENTRY.transfer_id.hex) == (
        details.refs.end_to_end_id,
        details.refs.acct_svcr_ref,
    )
    assert Iban().iban_of(3_000_000_456) == details.rltd_pties.cdtr_acct.id.iban
    assert ["Rent"] == details.rmt_inf.ustrd
    code = entry.bk_tx_cd.domn
    assert ("PMNT", "ICDT", "BOOK") == (code.cd, code.fmly.cd, code.fmly.sub_fmly_cd)


async def test_a_credit_names_its_debtor() -> None:
    """The party of a credit is the one that paid, and its code says received."""
    statement = await foreign_statement(lines_of("5.00"))
    (entry,) = statement.ntry
    parties = entry.ntry_dtls[0].tx_dtls[0].rltd_pties

    assert Iban().iban_of(3_000_000_456) == parties.dbtr_acct.id.iban
    assert ("CRDT", "RCDT") == (entry.cdt_dbt_ind.value, entry.bk_tx_cd.domn.fmly.cd)


async def test_overdrawn_balances_are_debits() -> None:
    """ISO's amounts have no sign: a balance below zero says DBIT."""
    lines = lines_of("5.00", opening="-30.00")
    bounds = bounds_of(lines, "-30.00", available=Decimal(-5))
    statement = await foreign_statement(lines, bounds)

    assert ["-30.00", "-25.00", "-5.00"] == [signed(bal) for bal in statement.bal]
    assert {"DBIT"} == {bal.cdt_dbt_ind.value for bal in statement.bal}


async def test_an_account_without_floor_has_no_closing_available() -> None:
    """There is no such balance in any form."""
    bounds = replace(BOUNDS, available=None)
    statement = await foreign_statement([ENTRY], bounds)
    told = json.loads(await written(StatementFormat.JSON, [ENTRY], bounds))

    assert ["OPBD", "CLBD"] == [bal.tp.cd_or_prtry.cd for bal in statement.bal]
    assert told["closing_available"] is None


async def test_accounts_without_iban_are_named_by_number() -> None:
    """System accounts, also as counterparties, stand under another identification."""
    suspense = suspense_account(2, "EUR")
    line = replace(ENTRY, counterparty=suspense)
    statement = await foreign_statement([line], replace(BOUNDS, account_no=suspense))
    parties = statement.ntry[0].ntry_dtls[0].tx_dtls[0].rltd_pties

    expected = (None, str(suspense))
    for account in (statement.acct, parties.cdtr_acct):
        assert expected == (account.id.iban, account.id.othr.id)


async def test_a_long_reference_is_told_whole() -> None:
    """ISO's references end at 35 characters; a longer one stands in the additional information."""
    line = replace(ENTRY, reference=LONG_REFERENCE)
    (entry,) = (await foreign_statement([line], BOUNDS)).ntry

    assert (None, LONG_REFERENCE, "NOTPROVIDED") == (
        entry.ntry_ref,
        entry.addtl_ntry_inf,
        entry.ntry_dtls[0].tx_dtls[0].refs.end_to_end_id,
    )


@pytest.mark.parametrize(
    ("narrative", "blocks"),
    [
        ("n" * 500, ["n" * 140] * 3 + ["n" * 80]),
        ("<a>&\"'", ["<a>&\"'"]),
        ("a\u0001\ufffe\ud800b", ["a\ufffd\ufffd\ufffdb"]),
        ("\U0001f4b6", ["\U0001f4b6"]),
    ],
    ids=["long", "markup", "no xml", "emoji"],
)
async def test_any_narrative_fits_into_xml(narrative: str, blocks: list[str]) -> None:
    """Whatever a payer wrote: escaped, cut into blocks, and without what XML cannot hold."""
    statement = await foreign_statement([replace(ENTRY, narrative=narrative)], BOUNDS)

    assert blocks == statement.ntry[0].ntry_dtls[0].tx_dtls[0].rmt_inf.ustrd


@pytest.mark.parametrize(
    ("narrative", "cell"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@sum", "'@sum"),
        ('a, "b"\nc', 'a, "b"\nc'),
        ("a=b", "a=b"),
    ],
)
async def test_a_payers_text_is_no_formula(narrative: str, cell: str) -> None:
    """A narrative that a spreadsheet would execute is marked as text; quoting follows RFC 4180."""
    _, entry, _ = await rows_of([replace(ENTRY, narrative=narrative)], BOUNDS)

    assert cell == entry["narrative"]
    assert "-20.00" == entry["amount"]


async def test_what_only_holds_money_is_no_booking() -> None:
    """Entries of holds change no ledger balance and stand in no statement."""
    held = replace(ENTRY, amount=Decimal(0), held_delta=Decimal(5))
    told = json.loads(await written(StatementFormat.JSON, [held, ENTRY, held], BOUNDS))

    assert ([ENTRY.reference], 1) == (
        [entry["reference"] for entry in told["entries"]],
        told["entry_count"],
    )


@pytest.mark.parametrize("form", StatementFormat)
async def test_a_statement_that_does_not_add_up_is_never_finished(form: StatementFormat) -> None:
    """A cent too much: an error in place of the end, and what was written is no whole document."""
    wrong = replace(ENTRY, amount=Decimal("-20.01"))
    statements = ScriptedStatements(chunks=[[wrong]])
    statement = await statements.open(BOUNDS.account_no)
    pieces: list[bytes] = []
    with pytest.raises(StatementBroken):
        await _collect(statement, form, pieces)
    text = b"".join(pieces)

    assert b"PAY-17" in text
    assert b"closing" not in text
    assert b"</Document>" not in text


async def _collect(statement: Statement, form: StatementFormat, pieces: list[bytes]) -> None:
    async for piece in statement.written(form):
        pieces.append(piece)  # noqa: PERF401  # what came before an error must be kept


async def test_the_namespace_is_that_of_the_version() -> None:
    """The document says which version it is, and when and by which name it was made."""
    before = datetime.now(UTC).replace(microsecond=0)
    root = etree.fromstring(await written(StatementFormat.CAMT_053, [ENTRY], BOUNDS))
    created = root.findtext(f".//{{{NAMESPACE}}}GrpHdr/{{{NAMESPACE}}}CreDtTm")
    name = root.findtext(f".//{{{NAMESPACE}}}Stmt/{{{NAMESPACE}}}Id")

    assert f"{{{NAMESPACE}}}Document" == root.tag
    assert before <= datetime.fromisoformat(created or "")
    assert "2000000123-261101-261201" == name

"""A streaming writer of camt.053.001.08: the bank's statement to its customer.

One document holds one statement; balances stand before the entries, as the schema wants them.
References longer than ISO's 35 characters cannot stand where references do; such an entry tells
its whole reference in its additional information.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache

from lxml import etree

from router.iso20022.iban import Iban
from router.limits import IBANS_REMEMBERED, ISO_IDENTIFIER_CHARS_MAX, ISO_REMITTANCE_CHARS_MAX
from shard.account_numbers import FIRST_CUSTOMER_ACCOUNT, LAST_CUSTOMER_ACCOUNT
from shard.ids import new_id
from shard.money import format_amount
from shard.statements import EntryLine, StatementBounds

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"

_NOT_PROVIDED = "NOTPROVIDED"
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STATEMENT_END = b"</Stmt>"
_DOCUMENT_END = b"</Stmt></BkToCstmrStmt></Document>\n"


class Camt053Writer:
    """One statement; ``created_at`` has a time zone."""

    def __init__(self, iban: Iban, *, created_at: datetime) -> None:
        self._created_at = created_at.isoformat(timespec="seconds")
        self._iban_of = lru_cache(IBANS_REMEMBERED)(iban.iban_of)

    def head(self, bounds: StatementBounds) -> bytes:
        """Group header, account and balances: opening, closing, closing available."""
        header = etree.Element("GrpHdr")
        _append(header, "MsgId", new_id().hex)
        _append(header, "CreDtTm", self._created_at)
        statement = etree.Element("Stmt")
        _append(statement, "Id", _name_of(bounds))
        _append(statement, "CreDtTm", self._created_at)
        dates = etree.SubElement(statement, "FrToDt")
        _append(dates, "FrDtTm", _midnight(bounds.from_date))
        _append(dates, "ToDtTm", _midnight(bounds.to_date))
        account = etree.SubElement(statement, "Acct")
        self._identify(account, bounds.account_no)
        _append(account, "Ccy", bounds.currency)
        currency = bounds.currency
        _balance(statement, "OPBD", bounds.opening, currency, bounds.from_date)
        _balance(statement, "CLBD", bounds.closing, currency, bounds.last_date)
        if bounds.available is not None:
            _balance(statement, "CLAV", bounds.available, currency, bounds.last_date)
        opening = f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{NAMESPACE}">'
        begun = etree.tostring(statement).removesuffix(_STATEMENT_END)
        return opening.encode() + b"<BkToCstmrStmt>" + etree.tostring(header) + begun + b"\n"

    def body(self, bounds: StatementBounds, lines: Sequence[EntryLine]) -> bytes:
        """An ``Ntry`` for each booking."""
        return b"".join(etree.tostring(self._entry(line, bounds)) + b"\n" for line in lines)

    def foot(self, bounds: StatementBounds, entry_count: int) -> bytes:
        """The end of the document."""
        return _DOCUMENT_END

    def _entry(self, line: EntryLine, bounds: StatementBounds) -> etree._Element:
        # Elements carry no namespace here: they inherit the document's when they stand in it.
        is_short = len(line.reference) <= ISO_IDENTIFIER_CHARS_MAX
        entry = etree.Element("Ntry")
        if is_short:
            _append(entry, "NtryRef", line.reference)
        _amount(entry, line.amount, bounds.currency)
        _append(etree.SubElement(entry, "Sts"), "Cd", "BOOK")
        _append(etree.SubElement(entry, "BookgDt"), "Dt", line.business_date.isoformat())
        _append(etree.SubElement(entry, "ValDt"), "Dt", line.value_date.isoformat())
        _append(entry, "AcctSvcrRef", line.transfer_id.hex)
        _transaction_code(entry, line.amount)
        self._details(entry, line, bounds.currency, line.reference if is_short else _NOT_PROVIDED)
        if not is_short:
            _append(entry, "AddtlNtryInf", line.reference)
        return entry

    def _details(
        self, entry: etree._Element, line: EntryLine, currency: str, end_to_end_id: str
    ) -> None:
        details = etree.SubElement(etree.SubElement(entry, "NtryDtls"), "TxDtls")
        references = etree.SubElement(details, "Refs")
        _append(references, "AcctSvcrRef", line.transfer_id.hex)
        _append(references, "EndToEndId", end_to_end_id)
        _amount(details, line.amount, currency)
        if line.counterparty is not None:
            role = "DbtrAcct" if line.amount > 0 else "CdtrAcct"
            parties = etree.SubElement(details, "RltdPties")
            self._identify(etree.SubElement(parties, role), line.counterparty)
        if line.narrative:
            text = _NOT_XML.sub("\ufffd", line.narrative)
            remittance = etree.SubElement(details, "RmtInf")
            for start in range(0, len(text), ISO_REMITTANCE_CHARS_MAX):
                _append(remittance, "Ustrd", text[start : start + ISO_REMITTANCE_CHARS_MAX])

    def _identify(self, account: etree._Element, account_no: int) -> None:
        """By IBAN; accounts of the bank itself have none."""
        identification = etree.SubElement(account, "Id")
        if FIRST_CUSTOMER_ACCOUNT <= account_no <= LAST_CUSTOMER_ACCOUNT:
            _append(identification, "IBAN", self._iban_of(account_no))
        else:
            _append(etree.SubElement(identification, "Othr"), "Id", str(account_no))


def _name_of(bounds: StatementBounds) -> str:
    """At most 35 characters: the account and the dates; its time tells one from a later one."""
    return f"{bounds.account_no}-{bounds.from_date:%y%m%d}-{bounds.to_date:%y%m%d}"


def _midnight(business_date: date) -> str:
    return datetime.combine(business_date, time()).isoformat()


def _balance(
    statement: etree._Element, kind: str, balance: Decimal, currency: str, on: date
) -> None:
    element = etree.SubElement(statement, "Bal")
    _append(etree.SubElement(etree.SubElement(element, "Tp"), "CdOrPrtry"), "Cd", kind)
    _amount(element, balance, currency)
    _append(etree.SubElement(element, "Dt"), "Dt", on.isoformat())


def _amount(parent: etree._Element, amount: Decimal, currency: str) -> None:
    """An amount without sign, and its sign in words."""
    element = etree.SubElement(parent, "Amt", Ccy=currency)
    element.text = format_amount(abs(amount), currency)
    _append(parent, "CdtDbtInd", "DBIT" if amount < 0 else "CRDT")


def _transaction_code(entry: etree._Element, amount: Decimal) -> None:
    """ISO external code set: payments, issued or received credit transfer, internal transfer."""
    domain = etree.SubElement(etree.SubElement(entry, "BkTxCd"), "Domn")
    _append(domain, "Cd", "PMNT")
    family = etree.SubElement(domain, "Fmly")
    _append(family, "Cd", "ICDT" if amount < 0 else "RCDT")
    _append(family, "SubFmlyCd", "BOOK")


def _append(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, name).text = text

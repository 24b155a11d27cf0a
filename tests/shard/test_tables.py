"""What SQL and Python both know is the same: outcomes, states, currencies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

import iso4217
import pytest

from shard.accounts import AccountKind, AccountStatus
from shard.commands import Kind, MoneyState, Origin
from shard.connections import OUR_SQLSTATES
from shard.money import CURRENCIES
from shard.outcomes import MEANINGS, Outcome
from shard.ownership import RangeState
from shard.suspense import Carrier
from tests.shard.own_server import SHARD_SQL, OwnShard
from tests.support.interleaving import holder

ENUMS: dict[str, type[StrEnum]] = {
    "outcome": Outcome,
    "origin": Origin,
    "kind": Kind,
    "money_state": MoneyState,
    "account_kind": AccountKind,
    "account_status": AccountStatus,
    "range_state": RangeState,
    "carrier": Carrier,
}
_TEXT = re.compile(r"'([A-Z][A-Z_]+[A-Z])'")
# States of ranges, and how a month is written.
_NO_OUTCOMES = {*RangeState, "YYYY_MM"}


@pytest.mark.parametrize("name", ENUMS)
async def test_enums_are_the_same_in_the_same_order(name: str, own: OwnShard) -> None:
    """A type of the schema and its Python twin list the same words in the same order."""
    async with holder(own.database.dsn) as look:
        rows = await look.execute(
            "SELECT e.enumlabel FROM pg_enum AS e WHERE e.enumtypid = to_regtype(%s)"
            " ORDER BY e.enumsortorder",
            (f"ledger.{name}",),
        )

    assert [label for (label,) in rows] == [member.value for member in ENUMS[name]]


async def test_every_currency_is_the_same_in_both_tables(own: OwnShard) -> None:
    """Code, index and decimals of each currency agree between SQL and Python."""
    async with holder(own.database.dsn) as look:
        rows = await look.execute("SELECT code, account_index, scale FROM ledger.currency")

    assert sorted(rows) == sorted((c.code, c.index, c.scale) for c in CURRENCIES.values())


@pytest.mark.parametrize("code", CURRENCIES)
def test_decimals_follow_iso_4217(code: str) -> None:
    """A currency has as many decimals here as ISO 4217 gives it."""
    assert iso4217.Currency(code).exponent == CURRENCIES[code].scale


def test_every_outcome_has_its_meaning() -> None:
    """The table of outcomes leaves none out, and tells each in a sentence of its own."""
    assert list(Outcome) == list(MEANINGS)
    assert len(MEANINGS) == len({meaning.sentence for meaning in MEANINGS.values()})


def test_what_is_retried_is_not_stored() -> None:
    """An outcome that a client may repeat leaves nothing that would answer the repetition."""
    stored = {
        outcome
        for outcome, meaning in MEANINGS.items()
        if meaning.is_retryable
        and (meaning.is_stored_for_clients or meaning.is_stored_for_deliveries)
    }
    assert set() == stored


def _words_of_functions() -> Iterable[str]:
    for file in (SHARD_SQL / "functions").iterdir():
        code = re.sub(r"--.*", "", file.read_text())
        yield from _TEXT.findall(code)


def test_functions_name_only_outcomes_that_exist() -> None:
    """Every code in capitals that a function names is an outcome or a state of ranges."""
    words = set(_words_of_functions())

    assert set() == words - set(Outcome) - _NO_OUTCOMES
    assert {"POSTED", "INSUFFICIENT_FUNDS"} <= words


def test_errors_of_our_own_are_told_from_those_of_postgresql() -> None:
    """Every error that a function raises has a state of our own, by which Python knows it."""
    text = "\n".join(file.read_text() for file in (SHARD_SQL / "functions").iterdir())
    raised = re.findall(r"RAISE EXCEPTION", text)
    states = re.findall(r"ERRCODE = '(\w+)'", text)

    assert len(raised) == len(states) > 5
    assert {OUR_SQLSTATES} == {state[:2] for state in states}

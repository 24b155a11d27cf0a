"""Amounts, references and account numbers as they come from outside."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shard.account_numbers import (
    Role,
    clearing_account,
    is_system_account,
    parse_account_no,
    suspense_account,
    system_account,
)
from shard.errors import AccountNoMalformed, AmountMalformed, ReferenceMalformed
from shard.money import CURRENCIES, format_amount, parse_amount, parse_signed_limit
from shard.references import parse_reference, request_hash

# Digits to Unicode, and to a careless pattern.
_ARABIC_ONE, _WIDE_ONE = "\u0661", "\uff11"

BAD_AMOUNTS = [
    "", " ", "0", "0.00", "-1", "+1", "-0", "1.", ".5", "01", "00.1", "1e3", "1E3", "NaN", "nan",
    "Infinity", "0x10", "1,00", "1 000", "1_000", "1.234", "1\n", " 1", "1 ", "100000000000000",
    "1.00.00", "12345678901234567890", "null", "1.0a", _ARABIC_ONE, _WIDE_ONE,
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_AMOUNTS)
def test_what_is_no_amount_of_euros(text: str) -> None:
    """Only plain positive decimals of at most 14 integer digits and two decimals pass."""
    with pytest.raises(AmountMalformed):
        parse_amount(text, "EUR")


@pytest.mark.parametrize(
    ("text", "currency"),
    [("0.01", "EUR"), ("99999999999999.99", "EUR"), ("1", "JPY"), ("1.123", "KWD"),
     ("0.0001", "CLF"), ("10.5", "USD")],
)  # fmt: skip
def test_what_is_an_amount(text: str, currency: str) -> None:
    """An amount within its currency's decimals is read exactly."""
    assert Decimal(text) == parse_amount(text, currency)


@pytest.mark.parametrize(("text", "currency"), [("1.0", "JPY"), ("1.1234", "KWD"), ("1", "XAU")])
def test_decimals_and_currencies_are_checked(text: str, currency: str) -> None:
    """More decimals than the currency has, or a currency not kept here, is malformed."""
    with pytest.raises(AmountMalformed):
        parse_amount(text, currency)


def test_a_limit_may_be_zero() -> None:
    """An overdraft limit of zero is the usual one."""
    assert Decimal(0) == parse_signed_limit("0.00", "EUR")


@given(
    units=st.integers(1, 10**14 - 1),
    fraction=st.integers(0, 9_999),
    currency=st.sampled_from(sorted(CURRENCIES)),
)
def test_amounts_survive_the_wire(units: int, fraction: int, currency: str) -> None:
    """What is written is read back as the same amount, with the currency's decimals."""
    scale = CURRENCIES[currency].scale
    amount = units + Decimal(fraction % 10**scale).scaleb(-scale)

    text = format_amount(amount, currency)

    assert amount == parse_amount(text, currency)
    assert scale == len(text.partition(".")[2])


@pytest.mark.parametrize("text", ["", "a" * 65, "a b", "ä", "a/b", "a\n", "a\0", "#", _WIDE_ONE])
def test_what_is_no_reference(text: str) -> None:
    """A reference has 1 to 64 characters of its alphabet and nothing else."""
    with pytest.raises(ReferenceMalformed):
        parse_reference(text)


@pytest.mark.parametrize("text", ["a", "A-1._:z", "x" * 64, "-"])
def test_what_is_a_reference(text: str) -> None:
    """All of the alphabet may stand anywhere."""
    assert text == parse_reference(text)


_FIELDS = st.dictionaries(
    st.sampled_from(["a", "b", "ab", "c"]), st.none() | st.text(max_size=8), max_size=4
)


@given(one=_FIELDS, other=_FIELDS)
def test_hashes_tell_requests_apart(
    one: dict[str, str | None], other: dict[str, str | None]
) -> None:
    """Two requests have one hash just when they say the same; absent fields count as absent."""
    present = [{k: v for k, v in each.items() if v is not None} for each in (one, other)]

    assert (present[0] == present[1]) == (request_hash("t/1", one) == request_hash("t/1", other))


def test_the_form_is_part_of_the_hash() -> None:
    """The same fields under another form or version are another request."""
    assert request_hash("transfer/1", {"a": "b"}) != request_hash("transfer/2", {"a": "b"})


def test_hash_values_never_change() -> None:
    """The hash of a request is stored for ever: its recipe is fixed."""
    fields = {"debtor_account": "2000000123", "amount": "20.00", "narrative": None}

    assert "964b4c9dd871060440fb1ddc3cbe0f0f" == request_hash("transfer/1", fields).hex()


@pytest.mark.parametrize(
    "text", ["", "0", "01", "-1", "+1", "1e9", "1.0", " 1", "1\n", _WIDE_ONE, "1" * 19]
)
def test_what_is_no_account_number(text: str) -> None:
    """An account number is a plain string of digits that does not start with zero."""
    with pytest.raises(AccountNoMalformed):
        parse_account_no(text)


def test_system_accounts_have_their_place() -> None:
    """SSSRCCPPP: shard, role, currency, peer; every one lies below the customers' numbers."""
    assert 2_101_000 == suspense_account(2, "EUR")
    assert 2_202_003 == clearing_account(2, 3, "USD")
    numbers = {
        system_account(shard, role, code, serial)
        for shard in (1, 2, 999)
        for role in Role
        for code in CURRENCIES
        for serial in (0, 1, 999)
    }
    assert 3 * len(Role) * len(CURRENCIES) * 3 == len(numbers)
    assert all(is_system_account(number) for number in numbers)
    assert not is_system_account(1_000_000_000)

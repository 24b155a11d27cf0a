"""IBANs of the bank: they carry the account number and nothing else gets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schwifty import IBAN, registry

from router.iso20022.errors import (
    IbanCheckDigitsWrong,
    IbanMalformed,
    IbanOfAnotherBank,
    IbanRefused,
    IbanWithoutAccount,
)
from router.iso20022.iban import DEFAULT_BANK_CODE, DEFAULT_COUNTRY, Iban
from shard.account_numbers import FIRST_CUSTOMER_ACCOUNT, LAST_CUSTOMER_ACCOUNT
from shard.errors import AccountNoMalformed, Misconfigured

IBANS = Iban()
SYSTEM_ACCOUNT_IBAN = str(IBAN.generate("DE", DEFAULT_BANK_CODE, "1101000"))


@given(st.integers(FIRST_CUSTOMER_ACCOUNT, LAST_CUSTOMER_ACCOUNT))
def test_an_iban_gives_its_account_number_back(account_no: int) -> None:
    """Every account number of a customer survives the way into an IBAN and back."""
    assert account_no == IBANS.account_no_of(IBANS.iban_of(account_no))


def test_an_iban_is_the_one_of_the_standard() -> None:
    """Bank code and account of a published example give its check digits."""
    assert Iban("DE", "51210800").iban_of(1_245_126_199) == "DE75512108001245126199"


def test_an_iban_may_be_grouped() -> None:
    """People write an IBAN in groups of four."""
    assert IBANS.account_no_of("DE46 9900 0001 1000 0000 01") == 1_000_000_001


def test_the_default_bank_code_belongs_to_no_bank() -> None:
    """A demonstration never produces an IBAN that could exist."""
    assert registry.get_banks_by_code(DEFAULT_COUNTRY, DEFAULT_BANK_CODE) == []


@pytest.mark.parametrize(
    ("iban", "refusal"),
    [
        pytest.param("DE47990000011000000001", IbanCheckDigitsWrong, id="check-digits"),
        pytest.param("DE46990000011000000010", IbanCheckDigitsWrong, id="digits-swapped"),
        pytest.param("DE89370400440532013000", IbanOfAnotherBank, id="another-bank"),
        pytest.param("NL91ABNA0417164300", IbanOfAnotherBank, id="another-country"),
        pytest.param("DE4699000001100000000", IbanMalformed, id="too-short"),
        pytest.param("DE469900000110000000011", IbanMalformed, id="too-long"),
        pytest.param("XX46990000011000000001", IbanMalformed, id="no-country"),
        pytest.param("DE4699000001100000000Ü", IbanMalformed, id="letters"),
        pytest.param("DE", IbanMalformed, id="country-only"),
        pytest.param("", IbanMalformed, id="empty"),
        pytest.param(SYSTEM_ACCOUNT_IBAN, IbanWithoutAccount, id="system-account"),
    ],
)
def test_a_wrong_iban_is_refused(iban: str, refusal: type[IbanRefused]) -> None:
    """Each way to be wrong has its own error."""
    with pytest.raises(IbanRefused) as caught:
        IBANS.account_no_of(iban)
    assert refusal is type(caught.value)


@pytest.mark.parametrize("account_no", [FIRST_CUSTOMER_ACCOUNT - 1, LAST_CUSTOMER_ACCOUNT + 1, 0])
def test_only_customers_accounts_have_an_iban(account_no: int) -> None:
    """System accounts and numbers of more than ten digits have no IBAN."""
    with pytest.raises(IbanWithoutAccount):
        IBANS.iban_of(account_no)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever stands in a file as an account ends in a number or in one of two errors."""
    try:
        account_no = IBANS.parse_account(text)
    except (IbanRefused, AccountNoMalformed):
        return
    assert account_no > 0


@pytest.mark.parametrize(
    ("text", "account_no"),
    [("DE46990000011000000001", 1_000_000_001), ("2000000001", 2_000_000_001)],
)
def test_an_account_is_named_by_iban_or_number(text: str, account_no: int) -> None:
    """A payment file may name an account either way."""
    assert account_no == IBANS.parse_account(text)


@pytest.mark.parametrize(
    ("country", "bank_code"),
    [("DE", "9900000"), ("DE", "990000011"), ("GB", "NWBK"), ("XX", "1"), ("DE", ""), ("", "")],
)
def test_ibans_that_cannot_carry_the_number_are_a_wrong_setting(
    country: str, bank_code: str
) -> None:
    """A bank code that does not fit stops the program at its start, not at the first file."""
    with pytest.raises(Misconfigured):
        Iban(country, bank_code)

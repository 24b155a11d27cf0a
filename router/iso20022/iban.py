"""The bank's IBANs carry its account numbers: the account part is the number itself.

Structure and check digits follow ISO 13616 and ISO 7064, by ``schwifty``.
"""

from __future__ import annotations

from schwifty import IBAN
from schwifty.exceptions import InvalidChecksumDigits, SchwiftyException

from router.iso20022.errors import (
    IbanCheckDigitsWrong,
    IbanMalformed,
    IbanOfAnotherBank,
    IbanWithoutAccount,
)
from shard.account_numbers import FIRST_CUSTOMER_ACCOUNT, LAST_CUSTOMER_ACCOUNT, parse_account_no
from shard.errors import Misconfigured

DEFAULT_COUNTRY = "DE"
DEFAULT_BANK_CODE = "99000001"
"""Fictitious: German bank codes begin with their clearing area, 1 to 8."""


class Iban:
    """Translates between account numbers and the IBANs of one bank."""

    def __init__(self, country: str = DEFAULT_COUNTRY, bank_code: str = DEFAULT_BANK_CODE) -> None:
        """Raises ``Misconfigured`` where such IBANs cannot carry ten digits as they are."""
        self._country = country
        self._bank_code = bank_code
        try:
            carried = {self.account_no_of(self.iban_of(no)) for no in _OUTERMOST}
        except (SchwiftyException, IbanMalformed, IbanOfAnotherBank):
            carried = set()
        if carried != _OUTERMOST:
            raise Misconfigured(
                f"IBANs of country {country!r} and bank code {bank_code!r} "
                "cannot carry this ledger's account numbers."
            )

    def iban_of(self, account_no: int) -> str:
        """The IBAN of an account, without spaces; raises ``IbanWithoutAccount``."""
        if not FIRST_CUSTOMER_ACCOUNT <= account_no <= LAST_CUSTOMER_ACCOUNT:
            raise IbanWithoutAccount
        return str(IBAN.generate(self._country, self._bank_code, str(account_no)))

    def account_no_of(self, iban: str) -> int:
        """The account number in an IBAN of this bank, which may be grouped by spaces.

        Raises ``IbanMalformed``, ``IbanCheckDigitsWrong``, ``IbanOfAnotherBank`` or
        ``IbanWithoutAccount``.
        """
        try:
            parsed = IBAN(iban)
        except InvalidChecksumDigits:
            raise IbanCheckDigitsWrong from None
        except SchwiftyException:
            raise IbanMalformed from None
        if (parsed.country_code, parsed.bank_code) != (self._country, self._bank_code):
            raise IbanOfAnotherBank
        code = parsed.account_code
        if not code.isdecimal() or int(code) < FIRST_CUSTOMER_ACCOUNT:
            raise IbanWithoutAccount
        return int(code)

    def parse_account(self, text: str) -> int:
        """Read an account of a payment file: an IBAN of this bank, or the number's digits.

        Raises what ``account_no_of`` raises, or ``AccountNoMalformed``.
        """
        return parse_account_no(text) if text.isdecimal() else self.account_no_of(text)


_OUTERMOST = {FIRST_CUSTOMER_ACCOUNT, LAST_CUSTOMER_ACCOUNT}

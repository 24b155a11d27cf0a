"""How the ledger's outcomes are told to customers: ISO 20022 external status reason codes.

Source: ISO 20022 External Code Sets, ExternalStatusReason1Code. The generic code of a family
is used (``AC04``, not ``AC07``), as the customers' software knows those best.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from router.iso20022.errors import (
    IbanCheckDigitsWrong,
    IbanMalformed,
    IbanOfAnotherBank,
    IbanRefused,
    IbanWithoutAccount,
)

UNSPECIFIED = "MS03"
"""Reason has not been specified by agent."""

_IBAN_ERRORS: tuple[type[IbanRefused], ...] = (
    IbanCheckDigitsWrong,
    IbanMalformed,
    IbanOfAnotherBank,
    IbanWithoutAccount,
)

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "INSUFFICIENT_FUNDS": "AM04",
        "LIMIT_EXCEEDED": "AM14",
        "CURRENCY_MISMATCH": "AM03",
        "ACCOUNT_UNKNOWN": "AC01",
        "ACCOUNT_CLOSED": "AC04",
        "ACCOUNT_FROZEN": "AC06",
        "SYSTEM_ACCOUNT": "AG01",
        "REFERENCE_REUSED": "DU03",
        "RECALLED": "DS02",
        "MALFORMED": "CH16",
        **{error.code: error.iso_reason for error in _IBAN_ERRORS},
    }
)


def reason_of(code: str) -> str:
    """The ISO reason for an outcome or error code of the ledger; ``MS03`` for any other."""
    return REASONS.get(code, UNSPECIFIED)

"""Account numbers: the routing key, and the system accounts' numbers ``SSSRCCPPP``.

SSS is the shard, R the role, CC the currency's index (``money.py``), PPP the peer shard or a
serial. System accounts lie below ``FIRST_CUSTOMER_ACCOUNT`` and never move.
"""

from __future__ import annotations

import re
from enum import IntEnum

from shard.errors import AccountNoMalformed
from shard.money import currency_of

FIRST_CUSTOMER_ACCOUNT = 1_000_000_000
LAST_CUSTOMER_ACCOUNT = 9_999_999_999
"""Ten digits: they fit the account part of an IBAN."""

_SHARD = 1_000_000
_ROLE = 100_000
_CURRENCY = 1_000
_DIGITS = re.compile(r"[1-9][0-9]{0,17}")


class Role(IntEnum):
    """What a system account is for."""

    SUSPENSE = 1
    CLEARING = 2
    FEES = 3
    SUB_ACCOUNT = 4


def system_account(shard: int, role: Role, currency: str, serial: int = 0) -> int:
    """The number of one system account of ``shard`` in ``currency`` (ISO 4217)."""
    index = currency_of(currency).index
    return shard * _SHARD + role * _ROLE + index * _CURRENCY + serial


def suspense_account(shard: int, currency: str) -> int:
    """Where money stands that left its debtor and has not reached its creditor yet."""
    return system_account(shard, Role.SUSPENSE, currency)


def clearing_account(shard: int, peer: int, currency: str) -> int:
    """``clearing(shard->peer)``: what ``shard`` owes ``peer`` for deliveries; may be itself."""
    return system_account(shard, Role.CLEARING, currency, peer)


def is_system_account(account_no: int) -> bool:
    """Tell whether the number belongs to the bank's own machinery."""
    return account_no < FIRST_CUSTOMER_ACCOUNT


def parse_account_no(text: str) -> int:
    """Read an account number from the wire; raises ``AccountNoMalformed``."""
    if not _DIGITS.fullmatch(text):
        raise AccountNoMalformed
    return int(text)

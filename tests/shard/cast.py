"""Accounts that give every kind of refusal, and commands that get it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from shard.account_numbers import suspense_account
from shard.accounts import AccountStatus
from shard.commands import Command, Leg
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.support.bank import BUSINESS_DATE, account_no, open_account, transfer

FAR_AWAY = date(BUSINESS_DATE.year + 20, 1, 1)
FUNDS = Decimal(100)
_USED = "USED"


@dataclass(frozen=True, slots=True)
class Cast:
    """A payer with ``FUNDS``, a payee, and accounts that cannot be paid."""

    payer: int
    payee: int
    bad_payees: Mapping[Outcome, int]

    def command(self, *flaws: Outcome) -> Command:
        """A payment under a fresh reference that is to be refused for each of ``flaws``."""
        command = transfer(self.payer, self.payee, "1")
        for flaw in flaws:
            command = self._flawed(command, flaw)
        return command

    def _flawed(self, command: Command, flaw: Outcome) -> Command:
        match flaw:
            case Outcome.REFERENCE_REUSED:
                return replace(command, reference=_USED)
            case Outcome.MALFORMED:
                return replace(command, legs=(*command.legs, Leg(self.payee, Decimal(0))))
            case Outcome.DATE_NOT_OPEN:
                return replace(command, not_before=FAR_AWAY)
            case Outcome.INSUFFICIENT_FUNDS:
                return self._and_pays(command, self.payee, 10 * FUNDS)
        return self._and_pays(command, self.bad_payees[flaw], Decimal(1))

    def _and_pays(self, command: Command, payee: int, amount: Decimal) -> Command:
        first, *others = command.legs
        legs = (replace(first, amount=first.amount - amount), *others, Leg(payee, amount))
        return replace(command, legs=legs)


FLAWS = (
    Outcome.NOT_OWNER,
    Outcome.MALFORMED,
    Outcome.DATE_NOT_OPEN,
    Outcome.REFERENCE_REUSED,
    Outcome.SYSTEM_ACCOUNT,
    Outcome.ACCOUNT_UNKNOWN,
    Outcome.ACCOUNT_CLOSED,
    Outcome.ACCOUNT_FROZEN,
    Outcome.CURRENCY_MISMATCH,
    Outcome.INSUFFICIENT_FUNDS,
)
"""Every refusal of a posting but RANGE_MOVING and RECALLED, in order of precedence."""


async def enter(shard: Shard) -> Cast:
    """Open the accounts, and use up the reference that is reused."""
    cast = Cast(
        payer=await open_account(shard, str(FUNDS)),
        payee=await open_account(shard),
        bad_payees={
            Outcome.NOT_OWNER: account_no(shard.number % 3 + 1),
            Outcome.SYSTEM_ACCOUNT: suspense_account(shard.number, "EUR"),
            Outcome.ACCOUNT_UNKNOWN: account_no(shard.number),
            Outcome.ACCOUNT_CLOSED: await open_account(shard),
            Outcome.ACCOUNT_FROZEN: await open_account(shard),
            Outcome.CURRENCY_MISMATCH: await open_account(shard, currency="USD"),
        },
    )
    for outcome, status in (
        (Outcome.ACCOUNT_CLOSED, AccountStatus.CLOSED),
        (Outcome.ACCOUNT_FROZEN, AccountStatus.FROZEN),
    ):
        number = cast.bad_payees[outcome]
        await shard.accounts.change_status(number, status, actor="t", reason="t")
    used = await shard.lanes.post(replace(cast.command(), reference=_USED, request_hash=b"used"))
    assert used.outcome is Outcome.POSTED
    return cast

"""A ledger on one page: one thread, no database, obviously right. The real one must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from shard.accounts import AccountStatus
from shard.commands import Command, Kind, Origin
from shard.money import CURRENCIES
from shard.outcomes import Outcome

_Key = tuple[int, Origin, str]
_Known = dict[_Key, tuple[bytes, Outcome]]
_LEAVES_NO_TRACE = {Outcome.ACCOUNT_UNKNOWN, Outcome.SYSTEM_ACCOUNT}
_FIRST_CUSTOMER_ACCOUNT = 1_000_000_000


@dataclass(slots=True)
class ModelAccount:
    """An account with its money in one piece; ``limit`` None means that it has no floor."""

    balance: Decimal = Decimal(0)
    limit: Decimal | None = Decimal(0)
    currency: str = "EUR"
    status: AccountStatus = AccountStatus.OPEN


@dataclass(slots=True)
class ModelLedger:
    """The accounts of one shard, and what is stored about references."""

    accounts: dict[int, ModelAccount] = field(default_factory=dict)
    _stored: _Known = field(default_factory=dict)

    def post_batch(self, commands: Sequence[Command]) -> list[Outcome]:
        """Book one command after the other; within a batch, twins share even what leaves no trace.

        What a shard does not store is forgotten at the end of the batch.
        """
        batch: _Known = {}
        return [self._post(command, batch) for command in commands]

    def _post(self, command: Command, batch: _Known) -> Outcome:
        if not _is_well_formed(command):
            return Outcome.MALFORMED
        key = (command.home, command.origin, command.reference)
        known = self._stored.get(key) or batch.get(key)
        if known is not None:
            return known[1] if known[0] == command.request_hash else Outcome.REFERENCE_REUSED
        outcome = self._decide(command)
        is_kept = command.origin is not Origin.CLIENT or outcome not in _LEAVES_NO_TRACE
        (self._stored if is_kept else batch)[key] = (command.request_hash, outcome)
        return outcome

    def _decide(self, command: Command) -> Outcome:
        if command.kind is Kind.TOMBSTONE:
            return Outcome.RECALLED
        refusals = {self._refusal(command, leg.account_no) for leg in command.legs}
        for outcome in Outcome:
            if outcome in refusals:
                return outcome
        before = {leg.account_no: self.accounts[leg.account_no].balance for leg in command.legs}
        for leg in command.legs:
            account = self.accounts[leg.account_no]
            account.balance += leg.amount
            has_floor = account.limit is not None and command.kind is not Kind.FORCED
            if leg.amount < 0 and has_floor and account.balance < -(account.limit or 0):
                for number, balance in before.items():
                    self.accounts[number].balance = balance
                return Outcome.INSUFFICIENT_FUNDS
        return Outcome.POSTED

    def _refusal(self, command: Command, account_no: int) -> Outcome | None:
        account = self.accounts.get(account_no)
        if account_no < _FIRST_CUSTOMER_ACCOUNT and command.origin is not Origin.SYSTEM:
            return Outcome.SYSTEM_ACCOUNT
        if account is None:
            return Outcome.ACCOUNT_UNKNOWN
        if account.status is AccountStatus.CLOSED:
            return Outcome.ACCOUNT_CLOSED
        if account.status is AccountStatus.FROZEN and command.kind is Kind.ORDINARY:
            return Outcome.ACCOUNT_FROZEN
        return None if account.currency == command.currency else Outcome.CURRENCY_MISMATCH


def _is_well_formed(command: Command) -> bool:
    amounts = [leg.amount for leg in command.legs] + [p.amount for p in command.parked]
    if command.kind is Kind.TOMBSTONE or not amounts:
        return command.kind is Kind.TOMBSTONE and not amounts
    currency = CURRENCIES.get(command.currency)
    return (
        currency is not None
        and sum(amounts) == 0
        and all(amounts)
        and all(amount == round(amount, currency.scale) for amount in amounts)
        and any(leg.account_no == command.home for leg in command.legs)
    )

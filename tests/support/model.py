"""A ledger on one page: one thread, no database, obviously right. The real one must agree.

Its accounts are in one piece whatever buckets the real ones have; its clock stands until a test
moves it. ``model_rules`` says what is well formed and what accounts speak against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from shard.accounts import AccountChange, AccountStatus
from shard.commands import Command, Kind, Leg, Origin, Original
from shard.holds import HoldState
from shard.outcomes import Outcome
from tests.support.model_rules import HOLD_KINDS, is_well_formed, refusal_of

_Key = tuple[int, Origin, str]
_Known = dict[_Key, tuple[bytes, Outcome]]
_LEAVES_NO_TRACE = {Outcome.ACCOUNT_UNKNOWN, Outcome.SYSTEM_ACCOUNT}
_LIMIT = Decimal(10) ** 14


@dataclass(slots=True)
class ModelAccount:
    """An account; ``limit`` None means that it has no floor. ``seq`` counts its changes."""

    balance: Decimal = Decimal(0)
    limit: Decimal | None = Decimal(0)
    currency: str = "EUR"
    status: AccountStatus = AccountStatus.OPEN
    minimum: Decimal = Decimal(0)
    held: Decimal = Decimal(0)
    seq: int = 0
    has_one_bucket: bool = True
    credits_when_frozen: bool = False

    @property
    def is_short(self) -> bool:
        """Whether it is below its floor."""
        return self.limit is not None and self.balance - self.held + self.limit < self.minimum


@dataclass(slots=True)
class ModelHold:
    """A hold as it stands."""

    amount: Decimal
    expires_at: datetime
    creditor: int | None
    captured: Decimal = Decimal(0)
    state: HoldState = HoldState.PENDING


@dataclass(frozen=True, slots=True)
class Booking:
    """What a booked command credited to whom."""

    home: int
    origin: Origin
    reference: str
    credits: Mapping[int, Decimal]


@dataclass(slots=True)
class ModelLedger:
    """The accounts of one shard, their holds, and what is stored about references."""

    accounts: dict[int, ModelAccount] = field(default_factory=dict)
    holds: dict[tuple[int, str], ModelHold] = field(default_factory=dict)
    in_transit: dict[int, Decimal] = field(default_factory=dict)
    reversed: dict[tuple[int, UUID], Decimal] = field(default_factory=dict)
    clock: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    _bookings: dict[UUID, Booking] = field(default_factory=dict)
    _stored: _Known = field(default_factory=dict)

    def post_batch(self, commands: Sequence[Command], *, is_atomic: bool = False) -> list[Outcome]:
        """Book one command after the other; within a batch, twins share even what leaves no trace.

        What a shard does not store is forgotten at the end of the batch, and so is all of an
        atomic one in which anything is refused. Credits can be reversed from the next batch on.
        """
        before = deepcopy(self) if is_atomic else None
        batch: _Known = {}
        booked: dict[UUID, Booking] = {}
        told = [self._post(command, batch, booked) for command in commands]
        self._bookings |= booked
        if before is not None and set(told) != {Outcome.POSTED}:
            self._become(before)
            return [self._of_aborted(*each) for each in zip(commands, told, strict=True)]
        return told

    def has_booked(self, transfer_id: UUID) -> bool:
        """Whether a command is booked, and not of the present batch."""
        return transfer_id in self._bookings

    def due(self) -> set[tuple[int, str]]:
        """The holds whose time is up."""
        return {
            key
            for key, hold in self.holds.items()
            if hold.state is HoldState.PENDING and hold.expires_at <= self.clock
        }

    def change(self, account_no: int, change: AccountChange) -> Outcome:
        """Change an account, or tell why it may not become what is asked."""
        account = self.accounts[account_no]
        after = changed(account, change)
        if after == account:
            return Outcome.POSTED
        outcome = self._reason_not_to(account, after, account_no)
        if outcome is Outcome.POSTED:
            self.accounts[account_no] = after
        return outcome

    def _reason_not_to(
        self, account: ModelAccount, after: ModelAccount, account_no: int
    ) -> Outcome:
        has_both = after.minimum > 0 and (after.limit != 0 or not after.has_one_bucket)
        was_without_floor = account.limit is None and after.limit is not None
        if account.status is AccountStatus.CLOSED:
            return Outcome.ACCOUNT_CLOSED
        if has_both or was_without_floor:
            return Outcome.MALFORMED
        is_lower = (after.limit or 0) - after.minimum < (account.limit or 0) - account.minimum
        if is_lower and after.is_short:
            return Outcome.INSUFFICIENT_FUNDS
        if after.status is AccountStatus.CLOSED:
            pending = [hold for (owner, _), hold in self.holds.items() if owner == account_no]
            if after.balance:
                return Outcome.BALANCE_NOT_ZERO
            if any(hold.state is HoldState.PENDING for hold in pending):
                return Outcome.HOLDS_OPEN
            is_closable = account_no not in self.in_transit
            return Outcome.POSTED if is_closable else Outcome.MONEY_IN_TRANSIT
        return Outcome.POSTED

    def _become(self, before: ModelLedger) -> None:
        self.accounts, self.holds, self.in_transit = (
            before.accounts,
            before.holds,
            before.in_transit,
        )
        self.reversed, self._bookings = before.reversed, before._bookings
        self._stored = before._stored

    def _of_aborted(self, command: Command, told: Outcome) -> Outcome:
        was_known = (command.home, command.origin, command.reference) in self._stored
        return Outcome.ATOMIC_ABORTED if told is Outcome.POSTED and not was_known else told

    def _post(self, command: Command, batch: _Known, booked: dict[UUID, Booking]) -> Outcome:
        if not is_well_formed(command):
            return Outcome.MALFORMED
        key = (command.home, command.origin, command.reference)
        known = self._stored.get(key) or batch.get(key)
        if known is not None:
            return known[1] if known[0] == command.request_hash else Outcome.REFERENCE_REUSED
        outcome = self._decide(command)
        is_kept = command.origin is not Origin.CLIENT or outcome not in _LEAVES_NO_TRACE
        (self._stored if is_kept else batch)[key] = (command.request_hash, outcome)
        if outcome is Outcome.POSTED:
            parked = sum((item.amount for item in command.parked), Decimal(0))
            if parked:
                self.in_transit[command.home] = (
                    self.in_transit.get(command.home, parked * 0) + parked
                )
            booked[command.transfer_id] = Booking(*key, _credits(command))
        return outcome

    def _decide(self, command: Command) -> Outcome:
        if command.kind is Kind.TOMBSTONE:
            return Outcome.RECALLED
        # The home account is asked first; what has no legs changes only what is held back there.
        legs = sorted(
            command.legs or (Leg(command.home, Decimal(0)),),
            key=lambda leg: leg.account_no != command.home,
        )
        refusals = {refusal_of(command, leg, self.accounts.get(leg.account_no)) for leg in legs}
        for outcome in Outcome:
            if outcome in refusals:
                return outcome
        before = deepcopy((self.accounts, self.holds, self.reversed))
        outcome = self._apply(command, legs)
        if outcome is not Outcome.POSTED:
            self.accounts, self.holds, self.reversed = before
        return outcome

    def _apply(self, command: Command, legs: Sequence[Leg]) -> Outcome:
        held = self._apply_terms(command)
        if isinstance(held, Outcome):
            return held
        for leg in legs:
            account = self.accounts[leg.account_no]
            account.balance += leg.amount
            account.held += held
            account.seq += 1
            is_loss = leg.amount < held and command.kind is not Kind.FORCED
            if is_loss and account.is_short:
                return Outcome.INSUFFICIENT_FUNDS
            if abs(account.balance) >= _LIMIT or account.held >= _LIMIT:
                return Outcome.LIMIT_EXCEEDED
            held = Decimal(0)
        return Outcome.POSTED

    def _apply_terms(self, command: Command) -> Decimal | Outcome:
        """What the home account holds back from now on, or less; or what speaks against it."""
        terms = command.terms
        if terms is None:
            return Decimal(0)
        account = self.accounts[command.home]
        seq = account.seq if account.has_one_bucket else None
        if terms.expected_seq is not None and terms.expected_seq != seq:
            return Outcome.SEQUENCE_MISMATCH
        if terms.reverses is not None:
            return self._take_back(command, terms.reverses)
        if command.kind in HOLD_KINDS:
            return self._change_hold(command)
        return Decimal(0)

    def _take_back(self, command: Command, original: Original) -> Decimal | Outcome:
        booking = self._bookings.get(original.transfer_id)
        named = (original.home, original.origin, original.reference)
        if booking is None or (booking.home, booking.origin, booking.reference) != named:
            return Outcome.NOT_REVERSIBLE
        if command.home not in booking.credits:
            return Outcome.NOT_REVERSIBLE
        key = (command.home, original.transfer_id)
        taken = self.reversed.get(key, Decimal(0)) + command.amount
        if taken > booking.credits[command.home]:
            return Outcome.REVERSAL_EXCEEDED
        self.reversed[key] = taken
        return Decimal(0)

    def _change_hold(self, command: Command) -> Decimal | Outcome:
        terms = command.terms
        assert terms is not None
        assert terms.hold is not None
        hold = self.holds.get((command.home, terms.hold))
        refusal = self._refusal_of_hold(command, hold)
        if refusal is not None:
            return refusal
        if hold is None:
            assert terms.expires_at is not None
            self.holds[command.home, terms.hold] = ModelHold(
                command.amount, terms.expires_at, terms.creditor
            )
            return command.amount
        left = hold.amount - hold.captured
        match command.kind:
            case Kind.INCREASE:
                hold.amount += command.amount
                hold.expires_at = terms.expires_at or hold.expires_at
                return command.amount
            case Kind.CAPTURE:
                hold.captured += command.amount
                if hold.captured < hold.amount and not terms.is_final:
                    return -command.amount
                hold.state = HoldState.CAPTURED
            case Kind.VOID:
                hold.state = HoldState.VOIDED
            case Kind.EXPIRE:
                hold.state = HoldState.EXPIRED
        return -left

    def _refusal_of_hold(self, command: Command, hold: ModelHold | None) -> Outcome | None:
        terms, kind = command.terms, command.kind
        assert terms is not None
        is_past = terms.expires_at is not None and terms.expires_at <= self.clock
        if kind is Kind.HOLD:
            return Outcome.HOLD_EXPIRED if is_past else None
        if hold is None:
            return Outcome.HOLD_UNKNOWN
        is_due = hold.expires_at <= self.clock
        if hold.state is not HoldState.PENDING or (kind is Kind.EXPIRE and not is_due):
            return Outcome.HOLD_NOT_OPEN
        if kind in {Kind.CAPTURE, Kind.INCREASE} and (is_due or is_past):
            return Outcome.HOLD_EXPIRED
        if kind is Kind.CAPTURE and hold.creditor not in {None, command.creditor}:
            return Outcome.HOLD_CREDITOR_MISMATCH
        if kind is Kind.CAPTURE and command.amount > hold.amount - hold.captured:
            return Outcome.HOLD_EXCEEDED
        return None


def changed(account: ModelAccount, change: AccountChange) -> ModelAccount:
    """The account as a change would have it; a limit of zero is none where there is no floor."""
    after = replace(account)
    if change.status is not None:
        after.status = change.status
    if change.credits_when_frozen is not None:
        after.credits_when_frozen = change.credits_when_frozen
    if change.overdraft_limit is not None and (account.limit is not None or change.overdraft_limit):
        after.limit = change.overdraft_limit
    if change.minimum_balance is not None:
        after.minimum = change.minimum_balance
    return after


def _credits(command: Command) -> Mapping[int, Decimal]:
    """What a command pays to whom; what comes back to its debtor is nobody's credit."""
    if command.kind is Kind.RETURN:
        return {}
    paid: dict[int, Decimal] = {}
    for leg in command.legs:
        if leg.amount > 0:
            paid[leg.account_no] = paid.get(leg.account_no, Decimal(0)) + leg.amount
    return paid

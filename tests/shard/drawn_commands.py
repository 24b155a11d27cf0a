"""Commands as Hypothesis draws them: small numbers that point at what there is by then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import strategies as st

from shard.commands import Command, Kind, Leg, Terms
from shard.holds import HoldState
from shard.ids import new_id
from tests.support.bank import again, transfer
from tests.support.model import ModelLedger
from tests.support.model_rules import FIRST_CUSTOMER_ACCOUNT
from tests.support.movements import (
    capture,
    expire,
    forced,
    guarded,
    increase,
    place,
    reversal,
    void,
)

HOMES = ("plain", "minimum", "overdraft", "bucketed", "bucketed overdraft", "no floor", "spare")
OTHERS = ("dollars", "closed", "unknown", "abroad", "system")
NAMES = (*HOMES, *OTHERS)
_PLAIN, _PLAIN_MAX = {"transfer", "legs", "forced"}, 2
_ENDS_S = (0, 30, 60, 600)
# Reversals are of so many last bookings, so that several meet at one of them.
_RECENT = 4


@dataclass(frozen=True, slots=True)
class Drawn:
    """One command: what it does, and numbers that choose among what there is."""

    action: str
    home: int
    payee: int
    cents: int
    number: int
    choice: int
    flag: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """What one lane posts at once; a plain one has no terms, and is decided as a whole."""

    lane: int
    is_atomic: bool
    is_plain: bool
    commands: tuple[Drawn, ...]


_ACTIONS = (
    ["transfer"] * 5 + ["legs"] * 2 + ["hold"] * 5 + ["capture"] * 6 + ["increase"] * 2
    + ["void", "expire", "forced", "forced", "flawed", "twin"] + ["reversal"] * 4
    + ["guarded"] * 3
)  # fmt: skip
_HOME = st.sampled_from([*range(len(HOMES)), 0, 3, 4, 3, 4, NAMES.index("unknown")])
_PAYEE = st.sampled_from([*range(len(NAMES)), *range(len(HOMES)), *range(len(HOMES))])
DRAWN = st.builds(
    Drawn,
    action=st.sampled_from(_ACTIONS),
    home=_HOME,
    payee=_PAYEE,
    cents=st.integers(1, 1_500),
    number=st.integers(0, 200),
    choice=st.integers(0, 11),
    flag=st.booleans(),
)
BATCHES = st.builds(
    Batch,
    lane=st.integers(0, 4),
    is_atomic=st.sampled_from([False] * 5 + [True]),
    is_plain=st.sampled_from([False, False, True]),
    commands=st.lists(DRAWN, min_size=1, max_size=24).map(tuple),
)


class Translator:
    """Makes the commands of one run's batches; it knows the model, and what was posted before."""

    def __init__(self, model: ModelLedger, numbers: Mapping[str, int]) -> None:
        self._model = model
        self._numbers = numbers
        self._batch: list[Command] = []
        self.posted: list[Command] = []

    def commands(self, batch: Batch) -> list[Command]:
        """The commands of a batch; they count as posted from now on."""
        self._batch = []
        # A refusal makes any batch one that is decided in order, so a plain one is small.
        for drawn in batch.commands[:_PLAIN_MAX] if batch.is_plain else batch.commands:
            is_fit = not batch.is_plain or drawn.action in _PLAIN
            self._batch.append(self._command(drawn) if is_fit else self._transfer(drawn))
        self.posted += self._batch
        return self._batch

    def _command(self, drawn: Drawn) -> Command:
        makes: Mapping[str, Callable[[Drawn], Command]] = {
            "transfer": self._transfer,
            "legs": self._with_legs,
            "hold": self._hold,
            "capture": self._about_hold,
            "increase": self._about_hold,
            "void": self._about_hold,
            "expire": self._about_hold,
            "forced": self._forced,
            "flawed": self._flawed,
            "twin": self._twin,
            "reversal": self._reversal,
            "guarded": self._guarded,
        }
        return makes[drawn.action](drawn)

    def _transfer(self, drawn: Drawn) -> Command:
        home, payee = self._home(drawn), self._payee(drawn)
        command = transfer(home, payee, _amount(drawn), f"R-{drawn.number}")
        if payee >= FIRST_CUSTOMER_ACCOUNT:
            return command
        # A system account is named where it lives.
        legs = (*command.legs, Leg(payee, command.amount, home))
        return replace(command, legs=legs, parked=())

    def _with_legs(self, drawn: Drawn) -> Command:
        """A debtor with two creditors of its shard, as a voucher with a fee; or two debtors."""
        home, other = self._home(drawn), self._numbers[HOMES[drawn.choice % len(HOMES)]]
        payee = self._numbers[HOMES[drawn.payee % len(HOMES)]]
        amount = Decimal(_amount(drawn))
        fee = Decimal("0.01") if drawn.choice % 2 else -amount
        legs = [Leg(home, -amount), Leg(other, fee), Leg(payee, amount - fee, home)]
        if amount == fee:
            legs.pop()
        if drawn.flag:
            legs.reverse()
        command = transfer(home, payee, _amount(drawn), f"R-{drawn.number}")
        asked = f"{drawn.choice}:{drawn.flag}".encode() + command.request_hash
        return replace(command, legs=tuple(legs), creditor=None, request_hash=asked)

    def _hold(self, drawn: Drawn) -> Command:
        end = self._model.clock + timedelta(seconds=_ENDS_S[drawn.choice % len(_ENDS_S)])
        creditor = self._payee(drawn) if drawn.flag and drawn.choice > 5 else None
        return place(
            self._home(drawn), _amount(drawn), f"R-{drawn.number}", expires_at=end,
            creditor=creditor,
        )  # fmt: skip

    def _about_hold(self, drawn: Drawn) -> Command:
        """Most often about an open hold, also one of the same batch; sometimes about none."""
        home, hold, left = self._chosen_hold(drawn)
        reference = f"R-{drawn.number + 300}"
        match drawn.action:
            case "increase":
                end = self._model.clock + timedelta(seconds=_ENDS_S[drawn.choice % len(_ENDS_S)])
                return increase(
                    home, _amount(drawn), hold, reference=reference,
                    expires_at=end if drawn.flag else None,
                )  # fmt: skip
            case "void":
                return void(home, hold, reference)
            case "expire":
                return expire(home, hold, reference)
        amount = str(left) if left and drawn.choice % 3 == 0 else _amount(drawn)
        return capture(
            home, self._payee(drawn), amount, hold, is_final=drawn.flag, reference=reference
        )

    def _chosen_hold(self, drawn: Drawn) -> tuple[int, str, Decimal]:
        known = [
            (home, reference, hold.amount - hold.captured)
            for (home, reference), hold in self._model.holds.items()
            if hold.state is HoldState.PENDING or drawn.choice == 1
        ]
        known += [(c.home, c.reference, c.amount) for c in self._batch if c.kind is Kind.HOLD]
        if not known or drawn.choice == 0:
            return self._home(drawn), f"R-{drawn.number}", Decimal(0)
        return known[-1 - drawn.number % len(known)]

    def _forced(self, drawn: Drawn) -> Command:
        home = self._numbers["bucketed"] if drawn.choice % 2 else self._home(drawn)
        command = forced(home, self._payee(drawn), _amount(drawn))
        return replace(command, reference=f"F-{drawn.number}")

    def _flawed(self, drawn: Drawn) -> Command:
        command = self._transfer(drawn)
        first, *others = command.legs
        flaws = (
            replace(command, legs=(*command.legs, Leg(command.home, Decimal(0)))),
            replace(command, legs=(replace(first, amount=first.amount - 1), *others)),
            replace(command, currency="XAU"),
            replace(command, terms=Terms(hold="R-1")),
            replace(command, kind=Kind.CAPTURE),
            replace(command, kind=Kind.HOLD, legs=(), parked=()),
        )
        return flaws[drawn.choice % len(flaws)]

    def _twin(self, drawn: Drawn) -> Command:
        """What was asked before, in this batch or long ago, or nearly so."""
        asked = self._batch or self.posted
        if not asked:
            return self._transfer(drawn)
        command = again(asked[drawn.number % len(asked)])
        return replace(command, request_hash=b"other") if drawn.choice == 0 else command

    def _reversal(self, drawn: Drawn) -> Command:
        originals: Sequence[Command] = [
            command
            for command in (*self.posted, *(self._batch if drawn.choice in {1, 2} else []))
            if command.kind in {Kind.ORDINARY, Kind.CAPTURE, Kind.FORCED} and command.legs
        ]
        local = [
            command
            for command in originals
            if not command.parked
            and _payees(command)
            and (drawn.choice < 3 or self._model.has_booked(command.transfer_id))
        ]
        if not local:
            return self._transfer(drawn)
        original = local[-1 - drawn.number % min(len(local), _RECENT)]
        payees = _payees(original)
        payee, paid = payees[drawn.payee % len(payees)]
        amount = str(paid) if drawn.flag else _amount(drawn)
        command = reversal(original, amount, creditor=payee, reference=f"V-{drawn.number}")
        if drawn.choice or command.terms is None or command.terms.reverses is None:
            return command
        strange = replace(command.terms.reverses, transfer_id=new_id())
        return replace(command, terms=replace(command.terms, reverses=strange))

    def _guarded(self, drawn: Drawn) -> Command:
        home = self._home(drawn)
        account = self._model.accounts.get(home)
        seq = (account.seq if account else 0) + max(0, drawn.choice - 8)
        command = guarded(home, self._payee(drawn), _amount(drawn), seq)
        return replace(command, reference=f"R-{drawn.number}")

    def _home(self, drawn: Drawn) -> int:
        return self._numbers[NAMES[drawn.home]]

    def _payee(self, drawn: Drawn) -> int:
        return self._numbers[NAMES[drawn.payee]]


def _amount(drawn: Drawn) -> str:
    return str(Decimal(drawn.cents) / 100)


def _payees(command: Command) -> list[tuple[int, Decimal]]:
    """Whom a command credits; not the system accounts, which runs of the machine share."""
    return [
        (leg.account_no, leg.amount)
        for leg in command.legs
        if leg.amount > 0 and leg.account_no >= FIRST_CUSTOMER_ACCOUNT
    ]

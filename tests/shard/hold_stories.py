"""Stories of holds: tables of commands, what each is told, and how their account stands then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shard.commands import Command, Kind
from shard.holds import HoldState
from shard.outcomes import Outcome
from tests.support.bank import transfer
from tests.support.movements import capture, expire, increase, place, void

POSTED, SHORT = Outcome.POSTED, Outcome.INSUFFICIENT_FUNDS
UNKNOWN, NOT_OPEN, DUE = Outcome.HOLD_UNKNOWN, Outcome.HOLD_NOT_OPEN, Outcome.HOLD_EXPIRED
WRONG, EXCEEDED = Outcome.HOLD_CREDITOR_MISMATCH, Outcome.HOLD_EXCEEDED
PENDING, CAPTURED = HoldState.PENDING, HoldState.CAPTURED
VOIDED, EXPIRED = HoldState.VOIDED, HoldState.EXPIRED
# Later than any posting of the same accounts by the real clock.
NOW = datetime(2031, 1, 1, 12, tzinfo=UTC)
END = NOW + timedelta(minutes=10)
H = "AUTH-1"


@dataclass(frozen=True, slots=True)
class Step:
    """One command about a hold, and what it is told; ``to`` is the shop or another payee.

    Steps that are earlier come a minute before the others.
    """

    kind: Kind
    told: Outcome
    amount: str = "0"
    hold: str = H
    to: str = "shop"
    is_final: bool = False
    only_for: str | None = None
    ends: datetime | None = None
    is_earlier: bool = False


@dataclass(frozen=True, slots=True)
class Story:
    """Steps over an account with 100.00, and how it stands after them."""

    steps: tuple[Step, ...]
    ledger: str
    held: str
    captured: str | None = None
    state: HoldState | None = None


def _hold(amount: str, told: Outcome = POSTED, **more: object) -> Step:
    return Step(Kind.HOLD, told, amount, **more)  # type: ignore[arg-type]  # by field name


def _due(amount: str, *, only_for: str | None = None) -> Step:
    return _hold(amount, ends=NOW, is_earlier=True, only_for=only_for)


def _pay(amount: str, told: Outcome = POSTED, **more: object) -> Step:
    return Step(Kind.CAPTURE, told, amount, **more)  # type: ignore[arg-type]  # by field name


def _more(amount: str, told: Outcome = POSTED, **more: object) -> Step:
    return Step(Kind.INCREASE, told, amount, **more)  # type: ignore[arg-type]  # by field name


def _void(told: Outcome = POSTED, **more: object) -> Step:
    return Step(Kind.VOID, told, **more)  # type: ignore[arg-type]  # by field name


def _expire(told: Outcome = POSTED) -> Step:
    return Step(Kind.EXPIRE, told)


def _spend(amount: str, told: Outcome = POSTED) -> Step:
    return Step(Kind.ORDINARY, told, amount)


STORIES = {
    "held": Story((_hold("30"), _spend("70.01", SHORT), _spend("70")), "30", "30", "0", PENDING),
    "all may be held": Story((_hold("100"), _spend("0.01", SHORT)), "100", "100", "0", PENDING),
    "too much": Story((_hold("100.01", SHORT),), "100", "0"),
    "two holds share": Story(
        (_hold("60"), _hold("40.01", SHORT, hold="B"), _hold("40", hold="C")), "100", "100", "0",
        PENDING,
    ),
    "captured whole": Story((_hold("30"), _pay("30")), "70", "0", "30", CAPTURED),
    "captured in part": Story((_hold("30"), _pay("10")), "90", "20", "10", PENDING),
    "captured in parts": Story(
        (_hold("30"), _pay("10"), _pay("15"), _pay("5")), "70", "0", "30", CAPTURED
    ),
    "the last capture releases": Story(
        (_hold("30"), _pay("10", is_final=True), _spend("90")), "0", "0", "10", CAPTURED
    ),
    "a later capture releases": Story(
        (_hold("30"), _pay("10"), _pay("1", is_final=True)), "89", "0", "11", CAPTURED
    ),
    "captured twice": Story(
        (_hold("30"), _pay("30"), _pay("30", NOT_OPEN)), "70", "0", "30", CAPTURED
    ),
    "captured too much": Story((_hold("30"), _pay("30.01", EXCEEDED)), "100", "30", "0", PENDING),
    "too much of the rest": Story(
        (_hold("30"), _pay("20"), _pay("10.01", EXCEEDED), _pay("10")), "70", "0", "30", CAPTURED
    ),
    "a final capture has its bound, too": Story(
        (_hold("30"), _pay("31", EXCEEDED, is_final=True)), "100", "30", "0", PENDING
    ),
    "nothing after the final capture": Story(
        (_hold("30"), _pay("1", is_final=True), _pay("1", NOT_OPEN), _void(NOT_OPEN)),
        "99", "0", "1", CAPTURED,
    ),
    "voided": Story((_hold("30"), _void(), _spend("100")), "0", "0", "0", VOIDED),
    "the rest is voided": Story((_hold("30"), _pay("10"), _void()), "90", "0", "10", VOIDED),
    "voided twice": Story((_hold("30"), _void(), _void(NOT_OPEN)), "100", "0", "0", VOIDED),
    "captured after the void": Story(
        (_hold("30"), _void(), _pay("1", NOT_OPEN)), "100", "0", "0", VOIDED
    ),
    "increased after the void": Story(
        (_hold("30"), _void(), _more("1", NOT_OPEN)), "100", "0", "0", VOIDED
    ),
    "increased": Story((_hold("30"), _more("20"), _pay("45")), "55", "5", "45", PENDING),
    "increased to all there is": Story(
        (_hold("30"), _more("70.01", SHORT), _more("70")), "100", "100", "0", PENDING
    ),
    "increased after a capture": Story(
        (_hold("30"), _pay("30"), _more("1", NOT_OPEN)), "70", "0", "30", CAPTURED
    ),
    "not due": Story((_hold("30"), _expire(NOT_OPEN)), "100", "30", "0", PENDING),
    "due at its very end": Story((_due("30"), _expire()), "100", "0", "0", EXPIRED),
    "due": Story(
        (_due("30"), _pay("1", DUE), _more("1", DUE), _expire()),
        "100", "0", "0", EXPIRED,
    ),
    "a moment before its end": Story(
        (_hold("30", ends=NOW + timedelta(microseconds=1)), _expire(NOT_OPEN), _pay("30")),
        "70", "0", "30", CAPTURED,
    ),
    "expired twice": Story(
        (_due("30"), _expire(), _expire(NOT_OPEN), _pay("1", NOT_OPEN)),
        "100", "0", "0", EXPIRED,
    ),
    "void of what is due": Story((_due("30"), _void()), "100", "0", "0", VOIDED),
    "due already": Story((_hold("30", DUE, ends=NOW), _pay("1", UNKNOWN)), "100", "0"),
    "due before short": Story((_hold("101", DUE, ends=NOW),), "100", "0"),
    "an end that has passed": Story(
        (_hold("30"), _more("1", DUE, ends=NOW), _expire(NOT_OPEN)), "100", "30", "0", PENDING
    ),
    "no extension of what is due": Story(
        (_due("30"), _more("1", DUE, ends=END), _expire()), "100", "0", "0", EXPIRED
    ),
    "unknown before due": Story((_more("1", UNKNOWN, ends=NOW),), "100", "0"),
    "for one creditor": Story(
        (_hold("30", only_for="shop"), _pay("1", WRONG, to="other"), _pay("30")),
        "70", "0", "30", CAPTURED,
    ),
    "for any creditor": Story(
        (_hold("30"), _pay("1", to="other"), _pay("29")), "70", "0", "30", CAPTURED
    ),
    "no such hold": Story(
        (_pay("1", UNKNOWN), _more("1", UNKNOWN), _void(UNKNOWN), _expire(UNKNOWN)), "100", "0"
    ),
    "a refused hold is none": Story((_hold("101", SHORT), _pay("1", UNKNOWN)), "100", "0"),
    "open before due": Story(
        (_due("30"), _void(), _pay("1", NOT_OPEN), _more("1", NOT_OPEN, ends=NOW)),
        "100", "0", "0", VOIDED,
    ),
    "due before the creditor": Story(
        (_due("30", only_for="shop"), _pay("1", DUE, to="other")),
        "100", "30", "0", PENDING,
    ),
    "the creditor before the amount": Story(
        (_hold("30", only_for="shop"), _pay("31", WRONG, to="other")), "100", "30", "0", PENDING
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cast:
    """An account with 100.00, a shop and another payee."""

    account: int
    shop: int
    other: int

    def command(self, step: Step) -> Command:
        """The command of a step, under a fresh reference."""
        payee = self.shop if step.to == "shop" else self.other
        match step.kind:
            case Kind.HOLD:
                only = self.shop if step.only_for == "shop" else None
                end = step.ends or END
                return place(self.account, step.amount, step.hold, expires_at=end, creditor=only)
            case Kind.CAPTURE:
                return capture(self.account, payee, step.amount, step.hold, is_final=step.is_final)
            case Kind.INCREASE:
                return increase(self.account, step.amount, step.hold, expires_at=step.ends)
            case Kind.VOID:
                return void(self.account, step.hold)
            case Kind.EXPIRE:
                return expire(self.account, step.hold)
        return transfer(self.account, payee, step.amount)

"""What goes into and comes out of repair workflows: no account number in full, and no amount.

Only what an operator types himself, the target of a redirection, stands in Temporal's history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sagas.wishes import Wish

DECIDE: Final = "decide"
"""The name of the update that carries out a decision."""

MALFORMED: Final = "Malformed"
UNSAFE: Final = "Unsafe"
NOT_YET: Final = "NotYet"
DECIDED_MEANWHILE: Final = "DecidedMeanwhile"
NOT_CARRIED_OUT: Final = "NotCarriedOut"
REFUSALS: Final = frozenset({MALFORMED, UNSAFE, DECIDED_MEANWHILE, NOT_CARRIED_OUT})
"""Types of the failures of an update that say that nothing was done."""

NOT_KNOWN: Final = "NotKnown"
"""The type of the failure of an update that may have been carried out."""


@dataclass(frozen=True, slots=True)
class RepairOrder:
    """See an item of ``source`` to its end; ``decisions`` were carried out by earlier runs."""

    source: int
    item: str
    decisions: int = 0


@dataclass(frozen=True, slots=True)
class RepairView:
    """An item as its repair workflow knows it; times in UTC (RFC 3339).

    ``state`` is an ``ItemState``. ``target`` and ``debtor`` are the last digits of account
    numbers. ``carrier`` is the kind of workflow that delivers it. ``destination`` is the shard that
    should own the target now. ``code`` is the outcome that the last refused attempt met.
    ``wait_until``: the last decision was to wait until then.
    """

    state: str
    attempt: int
    transfer: str
    destination: int
    target: str
    debtor: str
    is_return: bool
    code: str | None
    parked_at: str
    booked_on: int | None = None
    wait_until: str | None = None
    carrier: str = "repair"

    @property
    def is_open(self) -> bool:
        """Whether its amount still stands in suspense."""
        return self.state in {"parked", "needs_repair"}


@dataclass(frozen=True, slots=True)
class DecideOrder:
    """Carry out a wish on one attempt of an item, once by ``decision``.

    Without a wish it is the delivery that the last decision, a wait, has announced.
    """

    source: int
    item: str
    attempt: int
    decision: str
    wish: Wish | None


@dataclass(frozen=True, slots=True)
class DecideAnswer:
    """What became of a wish: carried out, or refused for a reason told in a sentence.

    ``is_known`` False: it may have been carried out all the same.
    """

    refusal: str | None = None
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class CarryItemOrder:
    """Deliver the present attempt of an item, and settle it."""

    source: int
    item: str


@dataclass(frozen=True, slots=True)
class DecisionReport:
    """What an operator reads as the answer to his update."""

    carried_out: str
    state: str
    attempt: int


@dataclass(frozen=True, slots=True)
class RepairResult:
    """How an item ended: its state, in which attempt, after how many decisions."""

    state: str
    attempt: int
    decisions: int

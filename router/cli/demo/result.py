"""What the demonstration found, as data; ``screen.py`` shows it to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from router.cli.demo.figures import Percentiles
from router.cli.demo.size import DemoSize
from router.cli.demo.verification import Claim
from router.cli.embedded_bank import Addresses
from shard.invariants import TrialLine
from shard.money import format_amount
from shard.suspense import OpenTotal


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The closing screen's content. Rates are per second, over the time it took to send."""

    size: DemoSize
    transfers: Counter[str]
    transfers_per_second: float
    repeated_requests: int
    payroll: Mapping[str, object]
    payroll_seconds: float
    same_shard: Percentiles
    window: Percentiles
    trial_balance: Mapping[int, Sequence[TrialLine]]
    suspense: Mapping[int, Sequence[OpenTotal]]
    open_sagas: int | None
    claims: Sequence[Claim]
    addresses: Addresses
    is_kept: bool

    @property
    def holds(self) -> bool:
        """Tell whether all of it held."""
        return all(claim.holds for claim in self.claims)

    def document(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "holds": self.holds,
            "claims": [asdict(claim) for claim in self.claims],
            "size": asdict(self.size),
            "transfers": {
                "by_outcome": dict(sorted(self.transfers.items())),
                "per_second": round(self.transfers_per_second, 1),
                "repeated_requests": self.repeated_requests,
            },
            "payroll": {**self.payroll, "seconds": round(self.payroll_seconds, 2)},
            "same_shard_answer": asdict(self.same_shard),
            "cross_shard_window": asdict(self.window),
            "trial_balance": [
                {
                    "shard": shard,
                    "currency": line.currency,
                    "kind": line.kind,
                    "accounts": line.accounts,
                    "debit": format_amount(line.debit, line.currency),
                    "credit": format_amount(line.credit, line.currency),
                }
                for shard, lines in self.trial_balance.items()
                for line in lines
            ],
            "suspense": [
                {
                    "shard": shard,
                    "state": total.state,
                    "currency": total.currency,
                    "count": total.count,
                    "amount": format_amount(total.amount, total.currency),
                }
                for shard, totals in self.suspense.items()
                for total in totals
            ],
            "open_sagas": self.open_sagas,
            "addresses": asdict(self.addresses),
            "is_running": self.is_kept,
        }

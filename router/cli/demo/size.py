"""How large the demonstration's bank is."""

from __future__ import annotations

from dataclasses import dataclass

from shard.errors import Malformed


class SizeInvalid(Malformed):
    """A bank of that size cannot be opened."""


@dataclass(frozen=True, slots=True)
class DemoSize:
    """Counts of a demonstration, and the seed of its random choices.

    ``accounts`` are the customers' (the employer's and the bank's own come on top);
    ``employees`` are lines of the payroll file.
    """

    customers: int = 10_000
    accounts: int = 20_000
    employees: int = 5_000
    transfers: int = 5_000
    seed: int = 1

    def __post_init__(self) -> None:
        if self.accounts < self.customers:
            raise SizeInvalid("Every customer has an account: --accounts is too small.")
        if self.customers < self.employees:
            raise SizeInvalid("Every employee is a customer: --customers is too small.")
        if self.paid_employees < 1:
            raise SizeInvalid("Too few --employees: some are paid, some closed, some unknown.")

    @property
    def unknown_employees(self) -> int:
        """Lines of the payroll file whose account does not exist: one in a hundred."""
        return max(3, self.employees // 100)

    @property
    def closed_employees(self) -> int:
        """Lines of the payroll file whose account is closed: one in a hundred."""
        return max(3, self.employees // 100)

    @property
    def paid_employees(self) -> int:
        """Lines of the payroll file that can be paid."""
        return self.employees - self.unknown_employees - self.closed_employees

"""What pytest's own command line says about a run: which PostgreSQL, and from which seed."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

SEED_BITS = 32


@dataclass(frozen=True, slots=True)
class PostgresChoice:
    """Where the tests' PostgreSQL servers come from; ``dsns`` is filled for ``given`` only.

    A given DSN names a superuser of a server that the tests may create databases and roles on.
    """

    kind: Literal["embedded", "testcontainers", "given"]
    dsns: tuple[str, ...] = ()


def postgres_choice(values: Sequence[str]) -> PostgresChoice:
    """Read the values of ``--postgres``; raises ``ValueError`` where they contradict.

    A DSN is known by its ``=`` or ``://``; several servers are several options.
    """
    if not values:
        return PostgresChoice("embedded")
    dsns = tuple(value for value in values if "=" in value or "://" in value)
    if len(dsns) == len(values):
        return PostgresChoice("given", dsns)
    match list(values):
        case ["embedded"]:
            return PostgresChoice("embedded")
        case ["testcontainers"]:
            return PostgresChoice("testcontainers")
        case _:
            message = "--postgres takes embedded, testcontainers, or one DSN for each server"
            raise ValueError(message)


def fresh_seed() -> int:
    """A seed that no other run has; it is printed, so that the run can be repeated."""
    return secrets.randbits(SEED_BITS)

"""Named places where a test may stop, fail or kill a process to force an interleaving."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

ARMED_BY = "LEDGER_CONTROL_POINTS"


class ControlPoint(StrEnum):
    """The places, in the order an item passes them."""

    CONVOY_BEFORE_START = "convoy.before_start"
    DELIVER_BEFORE = "deliver.before"
    DELIVER_AFTER_COMMIT = "deliver.after_commit"
    SETTLE_BEFORE = "settle.before"
    SETTLE_AFTER = "settle.after"
    REDIRECT_BEFORE = "redirect.before"
    REDIRECT_AFTER = "redirect.after"
    HAND_OVER_BEFORE = "hand_over.before"


class ControlPoints(Protocol):
    """What the sagas call when they pass a control point."""

    async def reached(self, name: str) -> None:
        """Return to go on; raise to fail here; wait to be overtaken here."""


class ControlPointFailure(Exception):
    """An armed control point failed on purpose."""


class Unarmed:
    """Control points in earnest: nothing happens."""

    async def reached(self, name: str) -> None:
        """Go on."""


class Armed:
    """Control points that act each time: ``exit`` kills the process, ``raise`` fails there."""

    def __init__(self, actions: Mapping[str, str]) -> None:
        for name, action in actions.items():
            if name not in set(ControlPoint) or action not in {"exit", "raise"}:
                raise ValueError(f"No such control point or action: {name}={action}")
        self._actions = dict(actions)

    async def reached(self, name: str) -> None:
        """Do what this control point is armed for."""
        match self._actions.get(name):
            case "exit":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise ControlPointFailure(name)


def from_environment(environment: Mapping[str, str] = os.environ) -> ControlPoints:
    """Read ``LEDGER_CONTROL_POINTS="convoy.before_start=exit,settle.before=raise"``."""
    text = environment.get(ARMED_BY, "")
    if not text:
        return Unarmed()
    pairs = (part.partition("=") for part in text.split(","))
    return Armed({name.strip(): action.strip() for name, _, action in pairs})

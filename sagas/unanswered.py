"""Deliveries whose answer stayed away, until they are sent again and it is known what they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sagas.limits import UNANSWERED_KEPT
from sagas.observer import Observer


class Unanswered:
    """What one carriage remembers, for its observer only: the item's shard decides by itself."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        # By the references of the attempts, oldest first.
        self._attempts: dict[str, None] = {}

    def stayed_away(self, references: Sequence[str]) -> None:
        """The attempts of these references were sent, and may or may not have been booked."""
        self._observer.deliveries_unanswered(len(references))
        for reference in references:
            if len(self._attempts) >= UNANSWERED_KEPT:
                del self._attempts[next(iter(self._attempts))]
            self._attempts[reference] = None

    def answered(self, replays: Mapping[str, bool]) -> None:
        """Attempts are answered, by reference: one that is known there was sent before.

        By whomever; only of those sent from here it is known that they had not been booked.
        """
        found = sum(replays.values())
        if not found and not self._attempts:
            return
        not_found = 0
        for reference, is_replay in replays.items():
            was_sent = reference in self._attempts
            self._attempts.pop(reference, None)
            not_found += was_sent and not is_replay
        self._observer.deliveries_found(found, not_found)

"""Deliveries whose answer stayed away, until they are sent again and it is known what they did."""

from __future__ import annotations

from collections.abc import Sequence

from sagas.limits import UNANSWERED_KEPT
from sagas.observer import Observer
from shard.commands import Answer
from shard.suspense import SuspenseItem


class Unanswered:
    """What one carriage remembers, for its observer only: the item's shard decides by itself."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        # By the references of the attempts, oldest first.
        self._attempts: dict[str, None] = {}

    def stayed_away(self, items: Sequence[SuspenseItem]) -> None:
        """The items' present attempts were sent, and may or may not have been booked."""
        self._observer.deliveries_unanswered(len(items))
        for item in items:
            if len(self._attempts) >= UNANSWERED_KEPT:
                del self._attempts[next(iter(self._attempts))]
            self._attempts[item.delivery_reference] = None

    def answered(self, items: Sequence[SuspenseItem], answers: Sequence[Answer]) -> None:
        """They are answered; one that is known there was sent before, by whomever."""
        found = sum(answer.is_replay for answer in answers)
        if not found and not self._attempts:
            return
        not_found = 0
        for item, answer in zip(items, answers, strict=True):
            was_sent = item.delivery_reference in self._attempts
            self._attempts.pop(item.delivery_reference, None)
            not_found += was_sent and not answer.is_replay
        self._observer.deliveries_found(found, not_found)

"""What the lanes of one shard count; read at a scrape, never on the way of a command."""

from __future__ import annotations

from collections.abc import Sequence

from shard.commands import Answer
from shard.tally import Tally

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COMMANDS = (1, 2, 5, 10, 25, 50, 100, 200, 300, 400, 500)


class LaneFigures:
    """Counts since this process started, of one shard.

    ``refused_full`` found no room, ``refused_unavailable`` met an open breaker, ``late`` were
    not started in time, ``abandoned`` were not sent because nobody waited any more.
    ``batches_asked_again`` lost their reply, ``batches_cut_off`` because the server was silent.
    Of their commands ``lost_found`` had been decided, ``lost_not_found`` had left no trace and
    were decided then, and ``lost_given_up`` nobody could be asked about in time.
    """

    __slots__ = (
        "abandoned",
        "batch_commands",
        "batch_seconds",
        "batches",
        "batches_asked_again",
        "batches_cut_off",
        "commands",
        "late",
        "lost_found",
        "lost_given_up",
        "lost_not_found",
        "refused_full",
        "refused_unavailable",
        "wait_seconds",
    )

    def __init__(self) -> None:
        self.batches = 0
        self.commands = 0
        self.refused_full = 0
        self.refused_unavailable = 0
        self.late = 0
        self.abandoned = 0
        self.batches_asked_again = 0
        self.batches_cut_off = 0
        self.lost_found = 0
        self.lost_not_found = 0
        self.lost_given_up = 0
        self.batch_commands = Tally(_COMMANDS)
        self.batch_seconds = Tally(_SECONDS)
        self.wait_seconds = Tally(_SECONDS)
        """Of the command of each batch that waited longest."""

    def answered_again(self, answers: Sequence[Answer]) -> None:
        """Commands whose reply was lost are answered now."""
        found = sum(answer.is_replay for answer in answers)
        self.lost_found += found
        self.lost_not_found += len(answers) - found

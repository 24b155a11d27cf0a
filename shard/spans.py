"""What traces are told, for those who trace; where nobody does, no call is made at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol


class Spans(Protocol):
    """Spans of work in a trace. Names and attributes hold no account numbers."""

    def here(self) -> object:
        """The span that is open here, to be named as the cause of another one later."""
        ...

    def past(self, name: str, cause: object, seconds: float) -> None:
        """Something took ``seconds`` until now, within ``cause``."""
        ...

    def span(
        self,
        name: str,
        *,
        causes: Sequence[object] = (),
        attributes: Mapping[str, str | int] | None = None,
    ) -> AbstractContextManager[None]:
        """A span for what happens inside the ``with``.

        One cause is its parent, several are its links; without any it belongs to the span that
        is open here.
        """
        ...

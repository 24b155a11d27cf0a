"""Cutting a stream of bytes into numbered lines, in bounded memory whatever comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from router.http.bodies import parse_body
from router.http.problems import BodyTooLarge, FieldError, RequestMalformed
from router.http.transfer_shapes import TransferBody, wanted_by
from router.limits import BODY_BYTES_MAX, BULK_UNBROKEN_BYTES_MAX
from router.transfer_requests import TransferRequest
from shard.errors import LedgerError

_LF: Final = b"\n"


class Line(NamedTuple):
    """One line, counted from 1; ``raw`` None if it was longer than a request may be."""

    number: int
    raw: bytes | None


class LineCutter:
    """Cuts bytes at line feeds. Blank lines are counted and left out (NDJSON, section 3.1).

    Of a line that is longer than ``BODY_BYTES_MAX`` nothing is kept. One that goes on beyond
    ``BULK_UNBROKEN_BYTES_MAX`` is no line: then ``is_endless``, and nothing more may be fed.
    """

    def __init__(self) -> None:
        self.number = 1
        """Of the line that is being read."""
        self._begun = bytearray()
        self._dropped_bytes = 0

    @property
    def is_endless(self) -> bool:
        """Tell whether the present line is too long to wait for its end."""
        return self._dropped_bytes > BULK_UNBROKEN_BYTES_MAX

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that end in ``data``."""
        start = 0
        while (end := data.find(_LF, start)) >= 0:
            yield from self._ended(data[start:end])
            start = end + 1
            if self.is_endless:
                return
        self._keep(data[start:])

    def end(self) -> Iterator[Line]:
        """The last line, which needs no line feed."""
        yield from self._ended(b"")

    def _keep(self, data: bytes) -> None:
        if not self._dropped_bytes and len(self._begun) + len(data) <= BODY_BYTES_MAX:
            self._begun += data
        else:
            self._dropped_bytes += len(self._begun) + len(data)
            self._begun.clear()

    def _ended(self, data: bytes) -> Iterator[Line]:
        if self._begun or self._dropped_bytes or len(data) > BODY_BYTES_MAX:
            self._keep(data)
            if self.is_endless:
                return
            data = bytes(self._begun)
            self._begun.clear()
        number, dropped = self.number, self._dropped_bytes
        self.number += 1
        self._dropped_bytes = 0
        if dropped:
            yield Line(number, None)
        elif not data.isspace() and data:
            yield Line(number, data)


def read_line(raw: bytes | None) -> TransferRequest | LedgerError:
    """What a line asks for, or why it is not well formed."""
    if raw is None:
        return BodyTooLarge("The line is longer than any request of this API.")
    try:
        body = parse_body(raw, TransferBody)
        if body.reference is None:
            raise RequestMalformed([FieldError("A reference is needed.", pointer="/reference")])
        return wanted_by(body, body.reference)
    except LedgerError as error:
        return error

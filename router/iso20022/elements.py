"""Typed access to the elements of one ISO 20022 message; each failure is an error of its own."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal

from router.iso20022.errors import (
    ElementMisplaced,
    ElementMissing,
    TextTooLong,
    ValueInvalid,
)
from router.iso20022.xml_stream import Element

_COUNT = re.compile(r"[0-9]{1,15}", re.ASCII)
_SUM = re.compile(r"\+?[0-9]{1,18}(\.[0-9]{0,17})?", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})?", re.ASCII)
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?",
    re.ASCII,
)


class Elements:
    """Finds children by their ISO 20022 names within one namespace."""

    def __init__(self, namespace: str) -> None:
        self._prefix = namespace + "}"

    def full_name(self, name: str) -> str:
        """The name as ``Element.name`` has it."""
        return self._prefix + name

    def find(self, parent: Element, *path: str) -> Element | None:
        """The one element at ``path`` below ``parent``; raises ``ElementMisplaced`` for two."""
        element = parent
        for name in path:
            full_name = self._prefix + name
            children = [child for child in element.children if child.name == full_name]
            if not children:
                return None
            if len(children) > 1:
                raise ElementMisplaced(f"{name} stands twice.", row=children[1].row)
            element = children[0]
        return element

    def get(self, parent: Element, *path: str) -> Element:
        """As ``find``; raises ``ElementMissing`` where there is none."""
        element = self.find(parent, *path)
        if element is None:
            raise ElementMissing(f"{'/'.join(path)} is missing.", row=parent.row)
        return element

    def find_text(self, parent: Element, *path: str, chars_max: int) -> str | None:
        """The text at ``path``, without the space around it; ``None`` where there is none."""
        element = self.find(parent, *path)
        return None if element is None else text_of(element, chars_max)

    def get_text(self, parent: Element, *path: str, chars_max: int) -> str:
        """As ``find_text``; raises ``ElementMissing`` for an empty text, too."""
        text = self.find_text(parent, *path, chars_max=chars_max)
        if text is None:
            raise ElementMissing(f"{'/'.join(path)} is missing.", row=parent.row)
        return text


def text_of(element: Element, chars_max: int) -> str | None:
    """The element's text; raises ``TextTooLong``, or ``ElementMisplaced`` for children in it."""
    if element.children:
        raise ElementMisplaced(
            f"{element.local_name} holds elements where a text belongs.", row=element.row
        )
    text = element.text.strip()
    if len(text) > chars_max:
        raise TextTooLong(
            f"{element.local_name} has more than {chars_max} characters.", row=element.row
        )
    return text or None


def parse_count(text: str) -> int:
    """Read a Max15NumericText; raises ``ValueInvalid``."""
    if not _COUNT.fullmatch(text):
        raise ValueInvalid(f"{text!r} is not a number of transactions.")
    return int(text)


def parse_sum(text: str) -> Decimal:
    """Read a control sum, which has no currency; raises ``ValueInvalid``."""
    if not _SUM.fullmatch(text):
        raise ValueInvalid(f"{text!r} is not a control sum.")
    return Decimal(text)


def parse_time(text: str) -> datetime:
    """Read an ISODateTime as it is written: naive where the file names no time zone."""
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass  # A 30th of February has the right form, too.
    raise ValueInvalid(f"{text!r} is not a date and time.")


def parse_date(text: str) -> date:
    """Read an ISODate or the day of an ISODateTime, as it is written in the file's own zone."""
    try:
        if _DATE.fullmatch(text) or _TIME.fullmatch(text):
            return date.fromisoformat(text[:10])
    except ValueError:
        pass  # As above.
    raise ValueInvalid(f"{text!r} is not a date.")

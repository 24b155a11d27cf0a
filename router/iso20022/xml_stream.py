"""XML of strangers, read in constant memory: no document type, no entities, no network.

Expat (Python's own) is used as it may be fed by changing threads, which an asyncio program
does to a file that it reads in chunks; libxml2's push parser corrupts memory then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import BinaryIO
from xml.parsers import expat

from router.iso20022.errors import (
    DoctypeForbidden,
    ElementTooLong,
    FileBrokenOff,
    FileEmpty,
    FileTooLarge,
    FileUnreadable,
    NotAPaymentFile,
    TooManyNames,
    XmlMalformed,
    XmlTooDeep,
)
from router.limits import (
    PAYMENT_FILE_BYTES_MAX,
    XML_CHUNK_BYTES,
    XML_DEPTH_MAX,
    XML_HEAD_BYTES_MAX,
    XML_NAMES_MAX,
    XML_UNCLOSED_BYTES_MAX,
    XML_UNCLOSED_ELEMENTS_MAX,
)

_codes = expat.errors.codes
_BROKEN_OFF = {
    _codes[expat.errors.XML_ERROR_NO_ELEMENTS],
    _codes[expat.errors.XML_ERROR_UNCLOSED_TOKEN],
    _codes[expat.errors.XML_ERROR_PARTIAL_CHAR],
    _codes[expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION],
}


class Element:
    """An element, growing while the file is read; ``name`` is ``namespace}name``.

    ``parent`` is known until the element has ended, ``text`` is what precedes its children.
    """

    __slots__ = ("attributes", "children", "name", "parent", "row", "text")

    def __init__(
        self, name: str, attributes: dict[str, str], row: int, parent: Element | None
    ) -> None:
        self.name = name
        self.attributes = attributes
        self.row = row
        self.parent = parent
        self.text = ""
        self.children: list[Element] = []

    @property
    def local_name(self) -> str:
        """The name without its namespace."""
        return self.name.rpartition("}")[2]


OnStart = Callable[[Element], None]
"""Told of the start of an element, which hangs below its parent already."""

OnEnd = Callable[[Element], bool]
"""Told of the end of an element; answers whether a part of the file is complete with it."""


class XmlStream:
    """One file, read from its beginning to its end.

    ``root_name`` is known at once. ``sha256`` and ``bytes_read`` cover the whole file once
    ``chunks`` is exhausted.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Read the head of ``file``; raises leaves of ``PaymentFileRefused``."""
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes_read = 0
        self._head = self._read(XML_HEAD_BYTES_MAX)
        self.root_name = _root_name(self._head, is_whole=len(self._head) < XML_HEAD_BYTES_MAX)

    @property
    def sha256(self) -> str:
        """SHA-256 of what was read so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    def chunks(self, start: OnStart, end: OnEnd) -> Iterator[None]:
        """Read on, chunk by chunk; the handlers are told of each element in between.

        Raises leaves of ``PaymentFileRefused``, and whatever the handlers raise.
        """
        tree = _Tree(start, end)
        parser = _parser()
        parser.StartNamespaceDeclHandler = tree.start_namespace
        parser.StartElementHandler = tree.start
        parser.EndElementHandler = tree.end
        parser.CharacterDataHandler = tree.add_text
        tree.parser = parser
        chunk, self._head = self._head, b""
        while chunk:
            _parse(parser, chunk)
            tree.unclosed_bytes += len(chunk)
            if tree.unclosed_bytes > XML_UNCLOSED_BYTES_MAX:
                raise ElementTooLong(row=parser.CurrentLineNumber)
            yield
            chunk = self._read(XML_CHUNK_BYTES)
        _parse(parser, b"", is_final=True)
        yield

    def _read(self, size_bytes: int) -> bytes:
        try:
            chunk = self._file.read(size_bytes)
        except OSError as error:
            raise FileUnreadable(f"The payment file cannot be read: {error.strerror}.") from error
        self.bytes_read += len(chunk)
        if self.bytes_read > PAYMENT_FILE_BYTES_MAX:
            raise FileTooLarge(f"A payment file has at most {PAYMENT_FILE_BYTES_MAX:,} bytes.")
        self._digest.update(chunk)
        return chunk


class _Tree:
    """The path from the document to the present element, and what hangs below it."""

    def __init__(self, start: OnStart, end: OnEnd) -> None:
        self.parser = expat.ParserCreate()
        self.unclosed_bytes = 0
        self._start = start
        self._end = end
        self._unclosed_elements = 0
        self._present: Element | None = None
        self._depth = 0
        self._names: dict[str, str] = {}

    def start_namespace(self, prefix: str | None, _uri: str) -> None:
        self._shared(prefix or "")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        row, parent = self.parser.CurrentLineNumber, self._present
        self._depth += 1
        self._unclosed_elements += 1
        if self._depth > XML_DEPTH_MAX:
            raise XmlTooDeep(row=row)
        if self._unclosed_elements > XML_UNCLOSED_ELEMENTS_MAX:
            raise ElementTooLong(row=row)
        for attribute in attributes:
            self._shared(attribute)
        element = Element(self._shared(name), attributes, row, parent)
        if parent is not None:
            parent.children.append(element)
        self._present = element
        self._start(element)

    def end(self, _name: str) -> None:
        element = self._present
        if element is None:
            return
        self._depth -= 1
        self._present = element.parent
        if self._end(element):
            self.unclosed_bytes = self._unclosed_elements = 0
        # Without this reference no cycle remains: what is forgotten is freed at once.
        element.parent = None

    def add_text(self, text: str) -> None:
        # Text between and behind children is space; collected, it would grow with the file.
        if self._present is not None and not self._present.children:
            self._present.text += text

    def _shared(self, name: str) -> str:
        # Expat remembers each name for ever: a file of ever new names would fill the memory.
        known = self._names.get(name)
        if known is None:
            if len(self._names) >= XML_NAMES_MAX:
                raise TooManyNames(row=self.parser.CurrentLineNumber)
            known = self._names[name] = name
        return known


def _parser() -> expat.XMLParserType:
    parser = expat.ParserCreate(namespace_separator="}", intern=None)
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    return parser


def _refuse_doctype(*_: object) -> None:
    raise DoctypeForbidden


def _root_name(head: bytes, *, is_whole: bool) -> str:
    if not head.strip():
        raise FileEmpty("The payment file is empty.")
    names: list[str] = []
    parser = _parser()
    parser.StartElementHandler = lambda name, _: names.append(name)
    try:
        _parse(parser, head, is_final=is_whole)
    except (XmlMalformed, FileBrokenOff):
        # Faults behind the document's first tag are told when they are read again.
        if not names:
            raise
    except (LookupError, ValueError):
        raise XmlMalformed("The payment file is in an unknown encoding.") from None
    if not names:
        raise NotAPaymentFile
    return names[0]


def _parse(parser: expat.XMLParserType, chunk: bytes, *, is_final: bool = False) -> None:
    try:
        parser.Parse(chunk, is_final)
    except expat.ExpatError as error:
        row, column = error.lineno, error.offset + 1
        if is_final and error.code in _BROKEN_OFF:
            raise FileBrokenOff(row=row, column=column) from None
        detail = f"The payment file is not well-formed XML: {expat.errors.messages[error.code]}."
        raise XmlMalformed(detail, row=row, column=column) from None

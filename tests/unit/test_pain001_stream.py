"""Payment files as a stream: memory stays flat, and no damage ends in a foreign error."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.iso20022 import pain001
from router.iso20022.errors import PaymentFileRefused
from router.iso20022.file_check import Repetitions, check_file
from router.iso20022.pain001 import read_payments
from router.iso20022.xml_stream import Element
from router.limits import XML_CHUNK_BYTES, XML_UNCLOSED_BYTES_MAX
from tests.support.payroll_files import Block, Payment, document_text, sepaxml_file

SHORT_LINES = 1_000
LONG_LINES = 5_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a property."""
    return tmp_path_factory.mktemp("payroll")


@pytest.fixture(scope="module")
def foreign(folder: Path) -> bytes:
    """A small file of foreign software."""
    return sepaxml_file(folder / "foreign.xml", 2).read_bytes()


def many(path: Path, count: int, payments_per_block: int = 500) -> Path:
    """A long file written by hand."""
    blocks = [
        Block(
            tuple(Payment(f"E-{n:05d}") for n in range(payments_per_block)),
            block_id=f"B-{block:05d}",
        )
        for block in range(count // payments_per_block)
    ]
    path.write_text(document_text(*blocks))
    return path


def peak_bytes(payments: Iterator[object]) -> int:
    """The most memory that reading held at once."""
    tracemalloc.start()
    try:
        for _ in payments:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def size_of(element: Element) -> int:
    """Elements and characters in the whole tree of which this is a part."""
    while element.parent is not None:
        element = element.parent
    waiting, size = [element], 0
    while waiting:
        present = waiting.pop()
        waiting += present.children
        size += 1 + len(present.text)
    return size


def outcome(path: Path, content: bytes) -> str:
    """``taken``, or the code of the refusal; any other error fails the test that asks."""
    path.write_bytes(content)
    try:
        check_file(path)
    except PaymentFileRefused as refusal:
        return refusal.code
    return "TAKEN"


def test_memory_does_not_grow_with_the_file(folder: Path) -> None:
    """Five times as many payments need no more memory, within one chunk's worth of objects."""
    short = peak_bytes(read_payments(many(folder / "short.xml", SHORT_LINES)))
    long = peak_bytes(read_payments(many(folder / "long.xml", LONG_LINES)))
    assert long < short + XML_CHUNK_BYTES


@pytest.mark.parametrize("payments_per_block", [SHORT_LINES, 1])
def test_the_tree_does_not_grow_with_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, payments_per_block: int
) -> None:
    """At the end of each payment the tree is as small as it was at the first one's."""
    sizes: list[int] = []
    forget = pain001._forget

    def measuring_forget(element: Element) -> None:
        sizes.append(size_of(element))
        forget(element)

    monkeypatch.setattr(pain001, "_forget", measuring_forget)
    path = many(folder / "tree.xml", SHORT_LINES, payments_per_block)
    assert sum(1 for _ in read_payments(path)) == SHORT_LINES
    assert max(sizes) == sizes[0]


def test_a_file_cut_off_anywhere_is_refused(folder: Path, foreign: bytes) -> None:
    """Each shorter beginning of a valid file is refused: nothing of half a file is taken."""
    path = folder / "cut.xml"
    outcomes = {outcome(path, foreign[:length]) for length in range(len(foreign))}
    assert outcomes <= {"FILE_EMPTY", "FILE_BROKEN_OFF", "XML_MALFORMED"}
    assert outcome(path, foreign) == "TAKEN"


@given(data=st.data())
def test_a_damaged_file_is_taken_or_refused(
    folder: Path, foreign: bytes, data: st.DataObject
) -> None:
    """Bytes that were lost, doubled or changed never end in an error outside of the tree."""
    start = data.draw(st.integers(0, len(foreign)), label="start")
    end = data.draw(st.integers(start, min(start + 40, len(foreign))), label="end")
    inserted = data.draw(st.binary(max_size=12) | st.just(foreign[start:end] * 2), label="bytes")
    assert outcome(folder / "damaged.xml", foreign[:start] + inserted + foreign[end:])


@given(text=st.text(st.characters(codec="utf-8"), max_size=60), place=st.sampled_from(
    ("M-1", "2026-11-20T08:30:00Z", "2026-11-30", "E-1", "100.00", "EUR", "2000000001", "TRF")
))  # fmt: skip
def test_any_text_in_a_field_is_taken_or_refused(folder: Path, text: str, place: str) -> None:
    """Whatever stands in a field, the file is read or refused with an error of the tree."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    content = document_text().replace(place, escaped, 1)
    assert outcome(folder / "field.xml", content.encode())


def test_a_payment_across_chunks_is_read_whole(folder: Path) -> None:
    """Where the chunks end does not matter: payments longer than a chunk are read, too."""
    remittance = f"<RmtInf>{'<Strd/>' * (XML_CHUNK_BYTES // 7 + 1)}</RmtInf>"
    assert len(remittance) < XML_UNCLOSED_BYTES_MAX
    payments = tuple(Payment(f"E-{n}", f"{n + 1}.00", extra=remittance) for n in range(9))
    path = folder / "chunks.xml"
    path.write_text(document_text(Block(payments, total="45")))
    assert check_file(path).lines == 9


def test_a_repetition_is_found_among_many() -> None:
    """One id that comes twice among a hundred thousand is the only suspect."""
    repetitions = Repetitions()
    for n in range(100_000):
        repetitions.add(f"E-{n}")
    assert repetitions.suspects() == set()
    repetitions.add("E-77777")
    assert repetitions.suspects() == {hash("E-77777")}

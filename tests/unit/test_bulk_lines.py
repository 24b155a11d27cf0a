"""Bytes become numbered lines, the same ones however they are cut, in bounded memory."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.http.bulk_lines import Line, LineCutter, read_line
from router.http.problems import BodyTooLarge, RequestMalformed
from router.limits import BODY_BYTES_MAX, BULK_UNBROKEN_BYTES_MAX
from router.transfer_requests import TransferRequest

GOOD = (
    b'{"reference":"PAY-17","debtor_account":"2000000123","creditor_account":"3000000456",'
    b'"amount":"20.00","currency":"EUR"}'
)


def lines_of(*parts: bytes) -> list[Line]:
    cutter = LineCutter()
    return [line for part in parts for line in cutter.feed(part)] + list(cutter.end())


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_lines_do_not_depend_on_how_bytes_arrive(body: bytes, cuts: list[int]) -> None:
    """Cut anywhere, a body has the lines it has as a whole."""
    places = [0, *sorted(cuts), len(body)]
    parts = [body[start:end] for start, end in pairwise(places)]
    expected = [
        Line(number, raw)
        for number, raw in enumerate(body.split(b"\n"), start=1)
        if raw and not raw.isspace()
    ]
    assert expected == lines_of(*parts)


def test_blank_lines_are_counted_and_left_out() -> None:
    """A line's number is its place in the body, as an editor shows it."""
    assert [Line(2, b"a"), Line(5, b"b")] == lines_of(b"\na\n\r\n  \nb\n")


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["without", "with"])
def test_the_last_line_needs_no_line_feed(end: bytes) -> None:
    """NDJSON ends its lines; whoever forgets the last one is served."""
    assert [Line(1, b"a"), Line(2, b"b")] == lines_of(b"a\nb" + end)


@pytest.mark.parametrize(
    ("length", "is_read"), [(BODY_BYTES_MAX, True), (BODY_BYTES_MAX + 1, False)]
)
@pytest.mark.parametrize("part_bytes", [1_000, BODY_BYTES_MAX * 2], ids=["in-parts", "at-once"])
def test_a_line_is_as_long_as_a_request_may_be(length: int, is_read: bool, part_bytes: int) -> None:
    """One byte more, and the line is none; the next one is read again."""
    body = b"x" * length + b"\nnext\n"
    parts = [body[i : i + part_bytes] for i in range(0, len(body), part_bytes)]
    first = b"x" * length if is_read else None
    assert [Line(1, first), Line(2, b"next")] == lines_of(*parts)


def test_a_long_line_is_not_kept() -> None:
    """What is thrown away anyway takes no memory: a megabyte passes through some kilobytes."""
    cutter = LineCutter()
    part = b"x" * 1_000
    tracemalloc.start()
    try:
        for _ in range(BULK_UNBROKEN_BYTES_MAX // len(part)):
            assert [] == list(cutter.feed(part))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 4 * BODY_BYTES_MAX
    assert not cutter.is_endless


def test_a_line_without_end_is_noticed() -> None:
    """Beyond the bound there is no line to wait for, and its number is told."""
    cutter = LineCutter()
    assert [Line(1, b"a")] == list(cutter.feed(b"a\n" + b"x" * BULK_UNBROKEN_BYTES_MAX))
    assert not cutter.is_endless
    assert [] == list(cutter.feed(b"x"))
    assert (True, 2) == (cutter.is_endless, cutter.number)


def test_an_endless_line_is_one_although_it_ends() -> None:
    """Whether a stream is refused does not depend on how its bytes arrive."""
    cutter = LineCutter()
    body = b"x" * (BULK_UNBROKEN_BYTES_MAX + 1) + b"\nnext\n"
    assert [] == list(cutter.feed(body))
    assert (True, 1) == (cutter.is_endless, cutter.number)


def test_a_good_line_is_a_request() -> None:
    """A line is read by the rules of a single request."""
    read = read_line(GOOD + b"\r")
    assert isinstance(read, TransferRequest)
    assert ("PAY-17", 2_000_000_123) == (read.reference, read.debtor)


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        (b"[]", ""),
        (b'"text"', ""),
        (b"\xff", ""),
        (GOOD.replace(b"20.00", b"20.001"), "/amount"),
        (GOOD.replace(b'"20.00"', b"20.00"), "/amount"),
        (GOOD.replace(b"reference", b"refernce"), "/refernce"),
        (GOOD.replace(b"}", b',"amount":"30.00"}'), "/amount"),
        (GOOD.replace(b'"reference":"PAY-17",', b""), "/reference"),
        (b'{"reference":' * 300, ""),
        (GOOD + GOOD, ""),
    ],
)
def test_a_bad_line_says_what_is_wrong(raw: bytes, pointer: str) -> None:
    """Each wrong field by its pointer, as for a single request."""
    read = read_line(raw)
    assert isinstance(read, RequestMalformed)
    assert pointer in {error.pointer for error in read.errors}


def test_a_line_that_was_not_kept_is_too_large() -> None:
    """413, for that line."""
    assert isinstance(read_line(None), BodyTooLarge)

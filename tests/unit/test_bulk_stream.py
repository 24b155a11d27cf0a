"""A stream of lines: its answers, its bounds, and its end when it does not end well."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import orjson
import pytest
from starlette.types import Message, Scope

from router.errors import RefusalReplayed, refusal
from router.http.app import create_app
from router.limits import (
    BODY_BYTES_MAX,
    BULK_ATOMIC_LINES_MAX,
    BULK_CHUNK_LINES,
    BULK_CHUNKS_IN_FLIGHT,
    BULK_STREAMS_MAX,
    BULK_UNBROKEN_BYTES_MAX,
)
from router.telemetry import Metrics
from router.wiring import Bank
from shard.commands import MoneyState
from shard.errors import Malformed, OutcomeUnknown, ShardUnavailable
from shard.outcomes import Outcome
from tests.support.scripted_bank import ScriptedBank, http_client

PATH = "/v1/transfers/bulk"
NDJSON = "application/x-ndjson"
WINDOW_LINES = BULK_CHUNK_LINES * BULK_CHUNKS_IN_FLIGHT


def line(reference: str = "PAY-17", **changes: Any) -> bytes:
    """A good line, with its line feed."""
    body = {
        "reference": reference,
        "debtor_account": "2000000123",
        "creditor_account": "3000000456",
        "amount": "20.00",
        "currency": "EUR",
        **changes,
    }
    return orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)


def lines(count: int) -> bytes:
    """Good lines, each with a reference of its own."""
    return b"".join(line(f"PAY-{n}") for n in range(1, count + 1))


class Wire:
    """What lies between the application and its client: parts of a body in, an answer out."""

    def __init__(self, parts: Iterable[bytes], *, is_cut_off: bool = False) -> None:
        self._parts = iter(parts)
        self._is_cut_off = is_cut_off
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.parts_read = 0
        self.answered = b""
        self.status: int | None = None
        self.is_complete = False

    async def receive(self) -> Message:
        """The next part, then the end, or the end of the connection."""
        await turns(1)
        part = next(self._parts, None)
        if part is not None:
            self.parts_read += 1
            return {"type": "http.request", "body": part, "more_body": True}
        if self._is_cut_off:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        """Take a piece of the answer, when the client is willing."""
        await self.may_send.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.answered += message["body"]
            self.is_complete = not message.get("more_body", False)

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The answer's lines."""
        return [orjson.loads(each) for each in self.answered.splitlines()]


def scope(query: bytes = b"", media_type: str = NDJSON) -> Scope:
    return {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": query,
        "headers": [(b"content-type", media_type.encode())],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("bank", 80),
        "client": ("client", 1),
        "root_path": "",
    }


@pytest.fixture
def bank() -> ScriptedBank:
    return ScriptedBank()


async def stream(bank: ScriptedBank, wire: Wire) -> Wire:
    """Serve one stream to its end."""
    await create_app(cast(Bank, bank), Metrics())(scope(), wire.receive, wire.send)
    return wire


async def posted(
    bank: ScriptedBank, body: bytes, query: str = "", media_type: str = NDJSON
) -> tuple[int, Sequence[dict[str, Any]]]:
    """The status and the documents of one answer."""
    async with http_client(bank) as client:
        response = await client.post(
            PATH + query, content=body, headers={"content-type": media_type}
        )
    return response.status_code, [orjson.loads(each) for each in response.content.splitlines()]


async def turns(count: int = 1_000) -> None:
    """Let everything run that can run without an event from outside."""
    for _ in range(count):
        await asyncio.sleep(0)  # sleep: one turn of the event loop, no time


async def test_each_line_has_one_answer_in_order(bank: ScriptedBank) -> None:
    """Good, bad, blank and long lines: each that is not blank is answered under its number."""
    body = line("A") + b"\n{bad}\n" + b"x" * (BODY_BYTES_MAX + 1) + b"\n" + line("B")
    status, answers = await posted(bank, body)
    told = [(each["line"], each["status"]) for each in answers]
    assert (200, [(1, 201), (3, 400), (4, 413), (5, 201)]) == (status, told)
    assert ["A", "B"] == [each.reference for each in bank.transfers.asked]


async def test_who_waits_for_each_answer_is_not_made_to_wait_for_others(bank: ScriptedBank) -> None:
    """A client that sends on before it was answered is: his lines may gather."""
    await stream(bank, Wire(one_by_one := [line("A")]))
    assert [False] == bank.bulk.patience
    bank.bulk.patience.clear()
    bank.bulk.may_go_on.clear()
    ahead = asyncio.create_task(stream(bank, Wire([*one_by_one, line("B")])))
    await turns()
    bank.bulk.may_go_on.set()
    await ahead
    assert [False, True] == bank.bulk.patience


async def test_order_is_kept_over_many_chunks(bank: ScriptedBank) -> None:
    """The n-th answer tells of the n-th line, also where chunks of lines overtake each other."""
    count = 10 * BULK_CHUNK_LINES + 7
    _, answers = await posted(bank, lines(count))
    assert [(n, f"PAY-{n}") for n in range(1, count + 1)] == [
        (each["line"], each["transfer"]["reference"]) for each in answers
    ]


@pytest.mark.parametrize("body", [b"", b"\n\n"], ids=["empty", "blank"])
async def test_nothing_asked_is_nothing_answered(bank: ScriptedBank, body: bytes) -> None:
    """A body without a line is answered by 200 and no line."""
    assert (200, []) == await posted(bank, body)


@pytest.mark.parametrize(
    ("scripted", "status", "is_replayed"),
    [
        ({"money_state": MoneyState.IN_TRANSIT}, 202, None),
        ({"is_replay": True}, 200, True),
        ({"fail": refusal(Outcome.INSUFFICIENT_FUNDS)}, 422, None),
        ({"fail": RefusalReplayed(Outcome.ACCOUNT_CLOSED, "Closed.")}, 422, True),
        ({"fail": Malformed("Wrong.", pointer="/amount")}, 400, None),
        ({"fail": ShardUnavailable()}, 503, None),
        ({"fail": OutcomeUnknown()}, 504, None),
    ],
)
async def test_a_line_has_the_status_it_would_have_alone(
    bank: ScriptedBank, scripted: dict[str, Any], status: int, is_replayed: bool | None
) -> None:
    """Status, transfer or problem, and whether it is a replay."""
    for name, value in scripted.items():
        setattr(bank.transfers, name, value)
    _, (answer,) = await posted(bank, line())
    assert (status, is_replayed) == (answer["status"], answer.get("replayed"))
    expected = {"problem"} if status >= 400 else {"transfer"}
    assert expected == answer.keys() & {"problem", "transfer"}


async def test_a_lines_problem_is_a_whole_problem(bank: ScriptedBank) -> None:
    """It has the members of any problem, and the places of a malformed line."""
    _, (answer,) = await posted(bank, line(amount="20.001"))
    problem = answer["problem"]
    assert {"type", "title", "status", "detail", "instance", "code", "retryable", "trace_id"} == (
        problem.keys() - {"errors"}
    )
    assert ["/amount"] == [each["pointer"] for each in problem["errors"]]


async def test_a_fault_of_ours_harms_its_chunk_only(bank: ScriptedBank) -> None:
    """Lines whose booking breaks down are told 500, unknown; the stream goes on."""
    bank.bulk.breaks_on = "PAY-1"
    _, answers = await posted(bank, lines(BULK_CHUNK_LINES + 2))
    statuses = [each["status"] for each in answers]
    assert [500] * BULK_CHUNK_LINES + [201] * 2 == statuses
    assert answers[0]["problem"]["retryable"]


async def test_no_more_is_read_than_can_be_under_way(bank: ScriptedBank) -> None:
    """While nothing is answered by the shards, reading stops at the window; then all goes on."""
    bank.bulk.may_go_on.clear()
    parts = (lines(BULK_CHUNK_LINES) for _ in range(3 * BULK_CHUNKS_IN_FLIGHT))
    wire = Wire(parts)
    streaming = asyncio.create_task(stream(bank, wire))
    await turns()
    assert (WINDOW_LINES, BULK_CHUNKS_IN_FLIGHT + 1) == (bank.bulk.begun, wire.parts_read)
    bank.bulk.may_go_on.set()
    await streaming
    assert 3 * WINDOW_LINES == len(wire.answers)
    assert WINDOW_LINES == bank.bulk.most_under_way


async def test_a_slow_reader_slows_down_its_own_requests(bank: ScriptedBank) -> None:
    """While the client takes no answers, no more lines are read than fit into the window."""
    wire = Wire(lines(BULK_CHUNK_LINES) for _ in range(3 * BULK_CHUNKS_IN_FLIGHT))
    wire.may_send.clear()
    streaming = asyncio.create_task(stream(bank, wire))
    await turns()
    assert (WINDOW_LINES, BULK_CHUNKS_IN_FLIGHT + 1) == (bank.bulk.begun, wire.parts_read)
    wire.may_send.set()
    await streaming
    assert 3 * WINDOW_LINES == len(wire.answers)


async def test_a_line_is_answered_before_the_next_one_comes(bank: ScriptedBank) -> None:
    """Whoever sends a line and waits for its answer gets it: no chunk has to be full."""
    wire = Wire([])
    answered: list[int] = []

    def parts() -> Iterator[bytes]:
        for n in range(1, 4):
            yield line(f"PAY-{n}")
            while len(wire.answers) < n:
                # An empty part gives the application a turn without telling it anything.
                yield b""
            answered.append(len(wire.answers))

    wire._parts = parts()
    await stream(bank, wire)
    assert [1, 2, 3] == answered


async def test_50000_lines_stay_within_the_window(bank: ScriptedBank) -> None:
    """However long a stream is, no more than the window is under way at once."""
    count = 50_000
    wire = await stream(bank, Wire(lines(200) for _ in range(count // 200)))
    assert list(range(1, count + 1)) == [each["line"] for each in wire.answers]
    assert wire.is_complete
    assert bank.bulk.most_under_way <= WINDOW_LINES


async def test_a_stream_cut_off_executes_whole_lines_only(bank: ScriptedBank) -> None:
    """What came before is executed; a line that lacks its end is not, complete as it may look."""
    wire = await stream(bank, Wire([line("A"), line("B").rstrip()], is_cut_off=True))
    assert ["A"] == [each.reference for each in bank.transfers.asked]
    assert not wire.is_complete


async def test_a_cut_off_stream_is_told_of_in_the_log(
    bank: ScriptedBank, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody is there to read the answers, so the log says how many lines were executed."""
    bank.bulk.may_go_on.clear()
    streaming = asyncio.create_task(stream(bank, Wire([lines(3)], is_cut_off=True)))
    await turns()
    bank.bulk.may_go_on.set()
    await streaming
    told = capsys.readouterr().out
    assert "bulk_cut_off" in told
    assert "'201': 3" in told


async def test_an_endless_first_line_is_refused_early(bank: ScriptedBank) -> None:
    """Nothing is answered yet, so all of it is 413, before the body has ended."""
    parts = [b"x" * BODY_BYTES_MAX] * 1_000
    wire = await stream(bank, Wire(parts))
    (problem,) = wire.answers
    assert (413, "BODY_TOO_LARGE") == (wire.status, problem["code"])
    assert wire.parts_read == BULK_UNBROKEN_BYTES_MAX // BODY_BYTES_MAX + 1


async def test_an_endless_line_is_told_of_by_the_last_answer(bank: ScriptedBank) -> None:
    """The lines before it are answered, then the one where the stream broke."""
    wire = await stream(bank, Wire([lines(2), *[b"x" * BODY_BYTES_MAX] * 1_000]))
    assert [(1, 201), (2, 201), (3, 413)] == [
        (each["line"], each["status"]) for each in wire.answers
    ]
    assert (200, True) == (wire.status, wire.is_complete)


async def test_a_stream_that_stalls_is_ended(
    bank: ScriptedBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that sends nothing more is told 408 for the line it owes; what came is answered."""
    monkeypatch.setattr("router.http.bulk_stream.BULK_STALL_S", 0.01)
    wire = Wire([])
    given = iter([line("A")])

    async def receive() -> Message:
        part = next(given, None)
        if part is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": part, "more_body": True}

    wire.receive = receive  # type: ignore[method-assign]  # a client that falls silent
    await stream(bank, wire)
    assert [(1, 201), (2, 408)] == [(each["line"], each["status"]) for each in wire.answers]
    assert wire.is_complete


async def test_a_client_that_takes_nothing_is_given_up(
    bank: ScriptedBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream does not hold its window for ever for a client that reads no answer."""
    monkeypatch.setattr("router.http.bulk_stream.BULK_STALL_S", 0.01)
    wire = Wire([line("A")])
    wire.may_send.clear()
    await stream(bank, wire)
    assert (1, False) == (len(bank.transfers.asked), wire.is_complete)


async def test_streams_are_bounded(bank: ScriptedBank) -> None:
    """One more than a process serves is 503 at once; when one ends there is room again."""
    app = create_app(cast(Bank, bank), Metrics())
    bank.bulk.may_go_on.clear()
    wires = [Wire([line()]) for _ in range(BULK_STREAMS_MAX)]
    streaming = [asyncio.create_task(app(scope(), w.receive, w.send)) for w in wires]
    await turns()
    refused = Wire([line()])
    refusing = asyncio.create_task(app(scope(), refused.receive, refused.send))
    await turns()
    bank.bulk.may_go_on.set()
    await asyncio.gather(*streaming, refusing)
    served = Wire([line()])
    await app(scope(), served.receive, served.send)
    assert (503, {200}, 200) == (refused.status, {w.status for w in wires}, served.status)


@pytest.mark.parametrize(
    ("query", "media_type", "status", "code"),
    [
        ("", "application/json", 415, "MEDIA_TYPE_UNSUPPORTED"),
        ("", "", 415, "MEDIA_TYPE_UNSUPPORTED"),
        ("", f"{NDJSON}; charset=latin-1", 415, "MEDIA_TYPE_UNSUPPORTED"),
        ("?atomic=yes", NDJSON, 400, "MALFORMED"),
        ("?atomic=true&atomic=true", NDJSON, 400, "MALFORMED"),
        ("?atomc=true", NDJSON, 400, "MALFORMED"),
    ],
)
async def test_a_wrong_stream_is_refused_as_a_whole(
    bank: ScriptedBank, query: str, media_type: str, status: int, code: str
) -> None:
    """What is wrong with the request itself is told before any line is read."""
    told, (problem,) = await posted(bank, line(), query, media_type)
    assert (status, code, []) == (told, problem["code"], bank.transfers.asked)


async def test_the_charset_may_be_named(bank: ScriptedBank) -> None:
    """UTF-8 is the only one there is, and saying so is no error."""
    status, _ = await posted(bank, line(), media_type=f"{NDJSON}; charset=UTF-8")
    assert 200 == status


async def test_a_unit_with_a_bad_line_is_not_booked(bank: ScriptedBank) -> None:
    """The bad line has its own error, the others say that they were given up with it."""
    _, answers = await posted(bank, line("A") + b"{bad}\n" + line("B"), "?atomic=true")
    assert [
        (1, 422, "ATOMIC_ABORTED"),
        (2, 400, "MALFORMED"),
        (3, 422, "ATOMIC_ABORTED"),
    ] == [(each["line"], each["status"], each["problem"]["code"]) for each in answers]
    assert [] == bank.transfers.asked


async def test_a_unit_stays_on_one_shard(bank: ScriptedBank) -> None:
    """422 for all of it, and the line that lies elsewhere, blank ones counted."""
    bank.bulk.other_shard = 1
    status, (problem,) = await posted(bank, line("A") + b"\n" + line("B"), "?atomic=true")
    assert (422, "NOT_ONE_SHARD") == (status, problem["code"])
    assert [3] == [each["line"] for each in problem["errors"]]


async def test_a_unit_has_so_many_lines(bank: ScriptedBank) -> None:
    """As many as fit into one transaction; one more is 413, and nothing is booked."""
    status, answers = await posted(bank, lines(BULK_ATOMIC_LINES_MAX), "?atomic=true")
    assert (200, BULK_ATOMIC_LINES_MAX) == (status, len(answers))
    bank.transfers.asked.clear()
    too_many = lines(BULK_ATOMIC_LINES_MAX + 1).rstrip()
    status, (problem,) = await posted(bank, too_many, "?atomic=true")
    assert (413, "BODY_TOO_LARGE", []) == (status, problem["code"], bank.transfers.asked)


async def test_a_unit_with_an_endless_line_is_refused(bank: ScriptedBank) -> None:
    """413 for all of it."""
    body = line("A") + b"x" * (BULK_UNBROKEN_BYTES_MAX + 1)
    status, (problem,) = await posted(bank, body, "?atomic=true")
    assert (413, "BODY_TOO_LARGE", []) == (status, problem["code"], bank.transfers.asked)


async def test_transfers_of_streams_are_counted(bank: ScriptedBank) -> None:
    """Streams count in the same series as single transfers: each first answer once."""
    async with http_client(bank) as client:
        headers = {"content-type": NDJSON}
        await client.post(PATH, content=lines(3), headers=headers)
        bank.transfers.is_replay = True
        await client.post(PATH, content=lines(2), headers=headers)
        told = (await client.get("/metrics")).text.splitlines()
    assert 'ledger_transfers_total{outcome="POSTED",path="local"} 3.0' in told
    assert "ledger_transfer_replays_total 2.0" in told

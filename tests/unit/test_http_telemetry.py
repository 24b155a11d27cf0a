"""Logs hold no secret, name their request, and metrics take what the sagas tell."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from prometheus_client.exposition import generate_latest

from router.telemetry import Metrics, configure_logging, current_trace_id, masked
from sagas.observer import Observer


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged as JSON, with the process's own logging put back at the end."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging(as_json=True)
    yield stream
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def _lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ledger:s3cr3t@127.0.0.1/x", "postgresql://ledger:***@127.0.0.1/x"),
        ("host=db password=s3cr3t dbname=x", "host=db password=*** dbname=x"),
        ("host=db password='s3 \\' cr3t' user=u", "host=db password=*** user=u"),
        ("postgresql:///x?password=s3cr3t&user=u", "postgresql:///x?password=***&user=u"),
        ("at http://127.0.0.1:8080/docs", "at http://127.0.0.1:8080/docs"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_secrets_in_texts_are_masked(text: str, shown: str) -> None:
    """Passwords in URIs and in keyword DSNs are masked; everything else stays."""
    assert shown == masked(text)


def test_secrets_by_name_are_masked(log: io.StringIO) -> None:
    """A value named like a secret is never shown, at any depth."""
    structlog.get_logger("t").info(
        "started", shard_dsn="x", db_password="x", options={"api_token": "x", "port": 1}
    )
    (line,) = _lines(log)
    assert ("***", "***", {"api_token": "***", "port": 1}) == (
        line["shard_dsn"],
        line["db_password"],
        line["options"],
    )


def test_secrets_in_exceptions_are_masked(log: io.StringIO) -> None:
    """A driver's message may quote its DSN; the trace is logged without the password."""
    dsn = "postgresql://ledger:s3cr3t@127.0.0.1/x"
    try:
        raise ConnectionError(dsn)
    except ConnectionError:
        structlog.get_logger("t").exception("failed", error=ConnectionError(dsn))
    assert "s3cr3t" not in log.getvalue()
    assert "ConnectionError" in _lines(log)[0]["exception"]


def test_the_standard_librarys_log_is_masked_too(log: io.StringIO) -> None:
    """Libraries that use ``logging`` go through the same processors."""
    logging.getLogger("some.driver").warning("cannot reach %s", "postgresql://u:s3cr3t@h/x")
    (line,) = _lines(log)
    assert ("cannot reach postgresql://u:***@h/x", "some.driver", "warning") == (
        line["event"],
        line["logger"],
        line["level"],
    )


def test_log_lines_name_their_request(log: io.StringIO) -> None:
    """Inside a request each line carries its trace id, outside none does."""
    logger = structlog.get_logger("t")
    token = current_trace_id.set("4bf92f3577b34da6a3ce929d0e0e4736")
    logger.info("inside")
    current_trace_id.reset(token)
    logger.info("outside")
    assert ["4bf92f3577b34da6a3ce929d0e0e4736", None] == [
        line.get("trace_id") for line in _lines(log)
    ]


def test_metrics_listen_to_the_sagas() -> None:
    """What an ``Observer`` is told becomes histograms and counters."""
    metrics = Metrics()
    observer: Observer = metrics
    observer.convoy_departed(7)
    observer.convoy_ended(0.02)
    observer.convoy_left_to_sweeper()
    observer.window(-0.001)
    observer.window(0.05)
    observer.deliveries_unanswered(3)
    observer.deliveries_found(2, 1)
    observer.swept(2, 5, is_complete=True)
    observer.repair_opened()
    observer.repair_decided("return")
    lines = generate_latest(metrics.registry).decode().splitlines()
    for line in (
        "ledger_convoy_items_sum 7.0",
        "ledger_convoy_seconds_count 1.0",
        "ledger_convoys_left_to_sweeper_total 1.0",
        "ledger_cross_shard_window_seconds_count 2.0",
        "ledger_cross_shard_window_seconds_sum 0.05",
        "ledger_deliveries_unanswered_total 3.0",
        'ledger_deliveries_sent_again_total{resolution="found"} 2.0',
        'ledger_deliveries_sent_again_total{resolution="not_found"} 1.0',
        'ledger_sweeps_total{result="complete",shard="2"} 1.0',
        'ledger_stragglers_sent_total{shard="2"} 5.0',
        "ledger_repairs_opened_total 1.0",
        'ledger_repairs_decided_total{choice="return"} 1.0',
        'ledger_repairs_decided_total{choice="wait"} 0.0',
    ):
        assert line in lines

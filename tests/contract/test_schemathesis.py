"""A foreign tester reads the OpenAPI document and tries the served API against a real bank."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from router.wiring import Bank
from tests.support.bank import open_account
from tests.support.serving import served

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CONFIG = "schemathesis.toml"
DOCUMENT = "openapi.json"
HOOKS = "tests.contract.schemathesis_hooks"
CASES, CASES_FULL = 20, 200
"""Random cases of each operation, besides those that its schema and its examples give."""

IN_ORDER = (
    *("submit_transfer", "reverse_transfer", "place_hold", "increase_hold", "capture_hold"),
    *("void_hold", "open_account", "change_account", "submit_transfers"),
)
"""What the examples of others rely on comes first; whatever only reads follows."""


async def test_the_api_is_what_its_document_says(
    bank: Bank, tmp_path: Path, seed: int, is_full: bool
) -> None:
    """No fault, no undocumented answer, nothing wrong is accepted, nothing right is rejected.

    Before that every example of the document is sent as it stands, and answered with success.
    """
    async with served(bank) as url, httpx.AsyncClient(base_url=url) as client:
        document = await _document_of_this_bank(client, bank)
        for sent in _examples(document):
            response = await client.send(client.build_request(**sent))
            assert [] == _failures(response), sent
        (tmp_path / DOCUMENT).write_text(json.dumps(document))
        cases = CASES_FULL if is_full else CASES
        status, report = await _run(
            tmp_path, "--seed", str(seed), "--max-examples", str(cases), "--url", url
        )
    assert 0 == status, report


async def _document_of_this_bank(client: httpx.AsyncClient, bank: Bank) -> dict[str, Any]:
    """The document with accounts in its examples that are there, and a time that is to come.

    The account to be changed is one of its own, so that the others are neither frozen nor closed.
    """
    text = (await client.get("/openapi.json")).text
    for shown, there in (await _stand_ins(bank)).items():
        text = text.replace(shown, there)
    document: dict[str, Any] = json.loads(text)
    changed = document["paths"]["/v1/accounts/{account}"]["patch"]["parameters"]
    changed[0]["example"] = str(await open_account(bank.shards[2], "1000.00"))
    return document


async def _stand_ins(bank: Bank) -> Mapping[str, str]:
    near, far = bank.shards[2], bank.shards[3]
    payer = await open_account(near, "1000.00", limit=None)
    week = datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
    return {
        "2000000123": str(payer),
        "2000000456": str(await open_account(near, "1000.00")),
        "2000000789": str(await open_account(near, "1000.00")),
        "3000000456": str(await open_account(far, "1000.00")),
        "C-000123": f"C-{payer}",
        "2026-11-28T09:30:00Z": week.isoformat().replace("+00:00", "Z"),
    }


def _examples(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A request for each example of a body, or one for an operation without a body."""
    operations = {
        operation["operationId"]: (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    for name in (*IN_ORDER, *sorted(operations.keys() - IN_ORDER)):
        method, path, operation = operations[name]
        named = {p["name"]: _example_of(p) for p in operation["parameters"] if p["in"] == "path"}
        request = {"method": method, "url": path.format(**named)}
        content = operation.get("requestBody", {"content": {"": {"examples": {"": None}}}})[
            "content"
        ]
        for media_type, described in content.items():
            for example in described["examples"].values():
                yield request | _body(media_type, example)


def _failures(response: httpx.Response) -> list[Any]:
    """The problems in an answer; one of NDJSON has them in its lines."""
    if response.headers["content-type"] == "application/x-ndjson":
        lines = [json.loads(line) for line in response.iter_lines()]
        return [line["problem"] for line in lines if "problem" in line]
    return [] if response.is_success else [response.text]


def _example_of(parameter: Mapping[str, Any]) -> str:
    named = parameter.get("examples", {"": {"value": parameter.get("example")}})
    return str(next(each["value"] for each in named.values()))


def _body(media_type: str, example: Mapping[str, Any] | None) -> dict[str, Any]:
    if example is None:
        return {}
    value = example["value"]
    content = value if isinstance(value, str) else json.dumps(value)
    return {"content": content, "headers": {"content-type": media_type}}


async def _run(folder: Path, *options: str) -> tuple[int | None, str]:
    """Run schemathesis in ``folder``; its exit status and report."""
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--no-color"),
        *("--config-file", str(HERE / CONFIG), "run", DOCUMENT, "--continue-on-failure", *options),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": HOOKS},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        report, _ = await run.communicate()
    finally:
        if run.returncode is None:
            run.kill()
    return run.returncode, report.decode()

"""The demonstration's payroll: a file by foreign software, and ``ledger payroll submit`` on it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from deploy.embedded.process import ManagedProcess, identify
from router.cli.demo.cast import EMPLOYER_NAME, Cast
from router.cli.exit_codes import ExitCode
from router.cli.payroll_commands import PAYMENTS_STEP
from router.cli.progress import Step, Steps
from router.iso20022.iban import Iban
from shard.errors import LedgerError


async def write_file(path: Path, cast: Cast, day: date, ibans: Iban, steps: Steps) -> None:
    """Write the employer's pain.001 file by the library ``sepaxml``."""
    # Only here: it is part of the optional packages.
    from router.iso20022.demo_file import Party, Salary, write_payroll_file

    salaries = [Salary(Party(each.payee, each.name), each.amount) for each in cast.salaries]
    with steps.step("Writing the payroll file", len(salaries)) as step:
        await asyncio.to_thread(
            write_payroll_file,
            path,
            Party(cast.employer, EMPLOYER_NAME),
            salaries,
            execution_date=day,
            ibans=ibans,
            on_progress=step.at,
        )
    # It names people and their salaries.
    await asyncio.to_thread(path.chmod, 0o600)


async def submit(
    path: Path, process: ManagedProcess, environment: Mapping[str, str], step: Step
) -> Mapping[str, object]:
    """Run the command as a user would, and return what it answers.

    ``process`` remembers it, for the next demonstration to stop should this one be killed.
    Raises ``LedgerError`` with the command's own sentence.
    """
    command = [sys.executable, "-m", "router.cli", "--progress", "json"]
    command += ["payroll", "submit", "--json", str(path)]
    child = await asyncio.create_subprocess_exec(
        *command,
        cwd=path.parent,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    identity = identify(child.pid)
    if identity is not None:
        process.adopt(identity)
    assert child.stdout is not None  # noqa: S101 it is a pipe
    assert child.stderr is not None  # noqa: S101 it is a pipe
    try:
        answer, messages = await asyncio.gather(child.stdout.read(), _follow(child.stderr, step))
        code = await child.wait()
    finally:
        await process.stop((signal.SIGTERM,))
    if code != ExitCode.DONE:
        raise LedgerError("The payroll failed. " + " ".join(messages))
    try:
        document: Mapping[str, object] = json.loads(answer)
    except ValueError:
        seen = answer[:200].decode(errors="replace")
        raise LedgerError(f"The payroll answered no JSON but {seen!r}.") from None
    return document


async def _follow(stream: asyncio.StreamReader, step: Step) -> Sequence[str]:
    """Pass the command's progress on until it ends; what else it said."""
    messages = []
    async for line in stream:
        try:
            told = json.loads(line)
        except ValueError:
            messages.append(line.decode(errors="replace").strip())
            continue
        if told.get("step") == PAYMENTS_STEP:
            step.at(told["done"], told["total"])
    return messages

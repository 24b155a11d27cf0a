"""The demonstration from its first server to its last figure."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime

from deploy.embedded.ports import free_port
from router.cli.bank_settings import process_environment
from router.cli.demo import figures, payroll_run, traffic, verification
from router.cli.demo.cast import Cast
from router.cli.demo.figures import Percentiles
from router.cli.demo.folder import DemoFolder
from router.cli.demo.opening import open_bank
from router.cli.demo.result import DemoResult
from router.cli.demo.size import DemoSize
from router.cli.embedded_bank import EmbeddedBank
from router.cli.progress import Steps
from router.iso20022.iban import Iban
from router.limits import CLI_PROCESS_NO
from router.settings import Settings
from router.wiring import Bank


async def run_demo(folder: DemoFolder, size: DemoSize, steps: Steps, *, keep: bool) -> DemoResult:
    """Bring up a bank, put it to work, and judge what came of it.

    Stops everything it started, however it ends, unless it is to be kept and ends well. Raises
    ``LedgerError`` or ``DeployError``.
    """
    async with folder.held():
        with steps.step("Clearing the demonstration's folder"):
            await folder.wipe()
        bank_process = EmbeddedBank(folder.bank_folder)
        is_kept = False
        try:
            settings = await bank_process.up(free_port(), steps)
            changes = {"run_worker": False, "process_no": CLI_PROCESS_NO}
            async with Bank(settings.model_copy(update=changes)) as bank:
                result = await _work(bank, bank_process, folder, size, steps, keep=keep)
            is_kept = keep
        finally:
            if not is_kept:
                await bank_process.down(steps)
    return result


async def _work(
    bank: Bank,
    processes: EmbeddedBank,
    folder: DemoFolder,
    size: DemoSize,
    steps: Steps,
    *,
    keep: bool,
) -> DemoResult:
    cast = await open_bank(bank, size, steps)
    day = max((await bank.business_day.dates()).values())
    ibans = _ibans(bank.settings)
    await payroll_run.write_file(folder.payroll_file, cast, day, ibans, steps)
    began = datetime.now(UTC)
    sent, payroll, payroll_seconds = await _both_at_once(processes, folder, cast, size, steps)
    with steps.step("Waiting until all money has arrived"):
        is_at_rest = await figures.wait_until_at_rest(bank)
    with steps.step("Verifying every cent"):
        evidence = verification.Evidence(
            cast=cast,
            answers=sent.answers,
            payroll_file=folder.payroll_file,
            report=folder.payroll_file.with_suffix(".pain002.xml"),
            is_at_rest=is_at_rest,
        )
        claims = await verification.verify(bank, evidence, size.seed)
    return DemoResult(
        size=size,
        transfers=Counter(answer.outcome for answer in sent.answers),
        transfers_per_second=len(sent.answers) / sent.seconds,
        repeated_requests=sum(answer.repeats for answer in sent.answers),
        payroll=payroll,
        payroll_seconds=payroll_seconds,
        same_shard=Percentiles.of(
            [answer.seconds for answer in sent.answers if answer.is_booked_at_once]
        ),
        window=Percentiles.of(await figures.windows(bank, began)),
        trial_balance=await figures.trial_balance(bank),
        suspense=await figures.suspense(bank),
        open_sagas=await figures.open_sagas(bank.temporal),
        claims=claims,
        addresses=processes.addresses(),
        is_kept=keep,
    )


async def _both_at_once(
    processes: EmbeddedBank, folder: DemoFolder, cast: Cast, size: DemoSize, steps: Steps
) -> tuple[traffic.Traffic, dict[str, object], float]:
    """The payroll and the ordinary transfers, side by side; and how long the payroll took."""
    payments = traffic.choose_payments(cast, size.transfers, size.seed)
    environment = process_environment(processes.stack.endpoints().environment())

    async def pay() -> tuple[dict[str, object], float]:
        with steps.step("Payroll: executing the file", size.employees) as step:
            began = time.perf_counter()
            result = await payroll_run.submit(
                folder.payroll_file, folder.payroll, environment, step
            )
            return dict(result), time.perf_counter() - began

    async def transfer() -> traffic.Traffic:
        with steps.step("HTTP: ordinary transfers", size.transfers) as step:
            return await traffic.send(payments, processes.api.url, step)

    async with asyncio.TaskGroup() as group:
        paying = group.create_task(pay())
        transferring = group.create_task(transfer())
    return transferring.result(), *paying.result()


def _ibans(settings: Settings) -> Iban:
    return Iban(settings.iban_country, settings.bank_code)

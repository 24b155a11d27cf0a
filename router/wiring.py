"""The one place where everything is put together: a bank, from its settings.

A bank opens although shards, the directory or Temporal are down: what needs them answers
``Unavailable`` until they are back, and everything else is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from importlib.resources import files
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog
from temporalio.client import Client

from router.accounts import Accounts
from router.bulk import Bulk
from router.business_calendar import first_business_day, target_closing_days
from router.business_day import BusinessDay
from router.check import Check
from router.directory import Directory, bootstrap, first_ranges, migrate_directory
from router.errors import SettingsInvalid, TemporalUnavailable
from router.holds import Holds
from router.iso20022.iban import Iban
from router.limits import TEMPORAL_WAIT_S
from router.payroll import Payroll
from router.repairs import Repairs
from router.reversals import Reversals
from router.routing import Routes
from router.saga_reads import SagaReads, TemporalPlace
from router.saga_trace import Traces
from router.settings import Settings
from router.statements import Statements
from router.suspense_gauge import SuspenseGauge
from router.transfers import Transfers
from router.watch import Watch
from sagas.control_points import ARMED_BY, from_environment, look_on
from sagas.convoys import Convoys
from sagas.observer import Observer
from sagas.worker import connect, run_worker
from shard.bootstrap import prepare_shard
from shard.errors import LedgerError, Unavailable
from shard.migrations import migrate
from shard.shard import Shard

if TYPE_CHECKING:
    # Its packages are an optional extra.
    from router.tracing import Tracing

_log = structlog.get_logger(__name__)
_SHARD_SQL = files("shard") / "sql"

Report = Callable[[str, list[str]], None]
"""Told the name of a database and what was (or would be) applied to it."""


class Bank:
    """All that one process serves a bank with; use it as ``async with Bank(settings) as bank``.

    With ``settings.run_worker`` this process also runs the sagas' worker. ``observer`` is told
    about convoys and the cross-shard window, ``tracing`` about everything.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        observer: Observer | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.settings = settings
        self.temporal: Client | None = None
        self._temporal_answers = asyncio.Event()
        self.shards: Mapping[int, Shard] = {
            number: Shard(
                number,
                dsn.get_secret_value(),
                process_no=settings.process_no,
                lane_count=settings.lanes_per_shard,
            )
            for number, dsn in sorted(settings.shard_dsns.items())
        }
        self.directory = Directory(settings.directory_dsn.get_secret_value())
        self.routes = Routes(self.directory, self.shards)
        self.accounts = Accounts(self.directory, self.routes)
        self.suspense = SuspenseGauge(self.shards, settings.suspense_items_max)
        self.watch = Watch(self.shards, self.suspense, lambda: self.temporal)
        self.transfers = Transfers(self.routes, self.suspense)
        self.reversals = Reversals(self.routes, self.transfers, self.suspense)
        self.holds = Holds(self.routes, self.suspense)
        iban = Iban(settings.iban_country, settings.bank_code)
        self.statements = Statements(self.routes, iban)
        self.payroll = Payroll(self.routes, self.accounts, self.suspense, iban)
        place = TemporalPlace(
            settings.temporal_address, settings.temporal_namespace, settings.temporal_ui_url
        )
        self.saga_reads = SagaReads(self.routes, place)
        self.repairs = Repairs(self.saga_reads, self.connected_temporal)
        self.traces = Traces(self.routes, self.saga_reads, self.connected_temporal)
        self.business_day = BusinessDay(self.directory, self.shards)
        self.check = Check(self.directory, self.shards)
        self._observer = observer
        self._tracing = tracing
        self._control_points = from_environment({ARMED_BY: settings.control_points})
        look_on(self.shards.values(), self._control_points)
        self.convoys = Convoys(
            self.shards,
            hosts_worker=settings.run_worker,
            control_points=self._control_points,
            observer=observer,
            spans=tracing,
        )
        self.bulk = Bulk(self.routes, self.transfers, self.suspense, self.convoys.room)
        for number, shard in self.shards.items():
            shard.lanes.spans = tracing
            shard.lanes.boarding = self.convoys.platform(number)
        self._sagas: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.directory.open()
        await asyncio.gather(*(shard.open() for shard in self.shards.values()))
        self._watching = asyncio.create_task(self.watch.run(), name="watch")
        self._sagas = asyncio.create_task(self._run_sagas(), name="sagas")
        self._sagas.add_done_callback(_tell_failure)
        await self.routes.refresh()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # First the sagas: while they end, they still need the shards.
        await self.convoys.close()
        running = [task for task in (self._sagas, self._watching) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.gather(*(shard.close() for shard in self.shards.values()))
        await self.directory.close()

    async def connected_temporal(self, limit_s: float = TEMPORAL_WAIT_S) -> Client:
        """The connection to Temporal; raises ``TemporalUnavailable`` where there is none soon."""
        try:
            async with asyncio.timeout(limit_s):
                await self._temporal_answers.wait()
        except TimeoutError:
            raise TemporalUnavailable from None
        if self.temporal is None:
            raise TemporalUnavailable
        return self.temporal

    async def _run_sagas(self) -> None:
        """Connect to Temporal whenever it answers; then convoys depart, and the worker runs."""
        settings = self.settings
        self.temporal = await connect(
            settings.temporal_address,
            settings.temporal_namespace,
            interceptors=() if self._tracing is None else self._tracing.temporal_interceptors(),
        )
        self._temporal_answers.set()
        self.convoys.connect(self.temporal)
        _log.info("temporal_connected", address=settings.temporal_address)
        if settings.run_worker:
            await run_worker(
                self.temporal,
                self.shards,
                self.routes,
                control_points=self._control_points,
                observer=self._observer,
                spans=self._tracing,
                terminus=self.convoys.terminus,
            )


def _tell_failure(sagas: asyncio.Task[None]) -> None:
    # The shards go on serving; money between them waits until this process is started again.
    if not sagas.cancelled() and (error := sagas.exception()) is not None:
        _log.error("sagas_broke_down", error=repr(error))


async def migrate_all(
    settings: Settings, *, dry_run: bool = False, report: Report, today: date | None = None
) -> None:
    """Bring directory and shards to this program's schema; a new bank is made by the way.

    Making it means: its shards and their first ranges known to the directory, the calendar,
    each shard's system accounts, and one business date for all: that of the shards which have
    one, else ``today`` or the first business day after it. Every step may be repeated. Raises
    ``Misconfigured`` and its leaves, or ``ShardUnavailable``; the other databases are done
    all the same.
    """
    directory_dsn, owner_dsns = _owner_dsns(settings)
    numbers = sorted(owner_dsns)
    day = await _business_date(settings, today or datetime.now(UTC).date())
    report("directory", await migrate_directory(directory_dsn, dry_run=dry_run))
    if not dry_run:
        await bootstrap(directory_dsn, numbers, first_year=day.year)

    async def migrate_shard(number: int, dsn: str) -> None:
        applied = await migrate(dsn, _SHARD_SQL, dry_run=dry_run)
        if not dry_run:
            ranges = [(each.range_id, each.lo, each.hi) for each in first_ranges(number)]
            await prepare_shard(dsn, number, peers=numbers, business_date=day, ranges=ranges)
        report(f"shard {number}", applied)

    results = await asyncio.gather(
        *(migrate_shard(number, dsn) for number, dsn in owner_dsns.items()),
        return_exceptions=True,
    )
    for result in results:
        if isinstance(result, BaseException):
            raise result


def _owner_dsns(settings: Settings) -> tuple[str, dict[int, str]]:
    missing = sorted(settings.shard_dsns.keys() - settings.shard_owner_dsns.keys())
    if settings.directory_owner_dsn is None or missing:
        raise SettingsInvalid(
            "To migrate, LEDGER_DIRECTORY_OWNER_DSN and LEDGER_SHARD_OWNER_DSNS (for every "
            "shard) name the role that owns each database."
        )
    owners = settings.shard_owner_dsns
    return settings.directory_owner_dsn.get_secret_value(), {
        number: owners[number].get_secret_value() for number in settings.shard_dsns
    }


async def _business_date(settings: Settings, today: date) -> date:
    """The date that new shards open on; raises ``ShardUnavailable`` rather than guess."""
    known = []
    for number, dsn in settings.shard_dsns.items():
        shard = Shard(number, dsn.get_secret_value())
        await shard.open()
        try:
            known.append(await shard.business_day.get())
        except Unavailable:
            raise
        except LedgerError:
            # Not migrated, or not prepared: it has no date yet.
            continue
        finally:
            await shard.close()
    closed = target_closing_days(today.year) | target_closing_days(today.year + 1)
    return max(known, default=first_business_day(today, closed))

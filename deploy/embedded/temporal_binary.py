"""Where the Temporal server program comes from: this machine, a download, or a build."""

import asyncio
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from deploy import limits
from deploy.embedded.commands import CommandResult, run_command
from deploy.embedded.file_lock import file_lock
from deploy.embedded.folders import cache_folder, private_folder
from deploy.errors import FolderBusy, TemporalNotObtainable

Report = Callable[[str], None]

# The newest release that `go install` accepts: later ones replace modules in their go.mod.
_BUILD_VERSION = "v1.5.1"
_BUILD_TARGET = f"github.com/temporalio/cli/cmd/temporal@{_BUILD_VERSION}"
# Where Go's installer puts it, for shells that leave it off the PATH.
_USUAL_GO = "/usr/local/go/bin/go"


async def obtain_temporal(report: Report) -> Path:
    """The Temporal program: LEDGER_TEMPORAL_BIN, else `temporal` on the PATH, else the cache.

    An empty cache is filled by the SDK's own download or, where that fails, by a build with Go,
    which takes minutes once. Raises TemporalNotObtainable, naming every way, when none works.
    """
    chosen = _chosen_path()
    if chosen is not None:
        return await _require_temporal(chosen)
    found = shutil.which("temporal")
    if found is not None and await _is_temporal(Path(found)):
        return Path(found)
    return _cached() or await _fill_cache(report)


def _chosen_path() -> Path | None:
    chosen = os.environ.get("LEDGER_TEMPORAL_BIN")
    return Path(chosen).expanduser().absolute() if chosen else None


async def _require_temporal(path: Path) -> Path:
    if not await _is_temporal(path):
        raise TemporalNotObtainable(
            f"LEDGER_TEMPORAL_BIN names {path}, which is not a Temporal program"
        )
    return path


async def _is_temporal(path: Path) -> bool:
    try:
        result = await run_command(
            [str(path), "--version"],
            folder=Path("/"),
            environment={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
            limit_s=limits.SHORT_COMMAND_LIMIT_S,
        )
    except (OSError, TimeoutError):
        return False
    # Any program may be called `temporal`; this one names the server inside it.
    return result.exit_code == 0 and "Server" in result.output


def _downloaded_path() -> Path:
    return cache_folder() / f"temporal-sdk-{importlib.metadata.version('temporalio')}"


def _built_path() -> Path:
    return cache_folder() / f"temporal-{_BUILD_VERSION}"


def _cached() -> Path | None:
    return next((path for path in (_downloaded_path(), _built_path()) if path.exists()), None)


async def _fill_cache(report: Report) -> Path:
    folder = private_folder(cache_folder())
    lock = file_lock(
        folder / "temporal.lock",
        limit_s=limits.TEMPORAL_BUILD_LIMIT_S,
        on_wait=lambda: report("Another command is obtaining Temporal; waiting for it"),
        busy=FolderBusy(f"another command has been obtaining Temporal in {folder} for too long"),
    )
    async with lock:
        cached = _cached()
        if cached is not None:
            return cached
        for leftover in folder.glob("draft-*"):
            await asyncio.to_thread(shutil.rmtree, leftover, ignore_errors=True)
        return await _first_that_works(folder, report)


async def _first_that_works(folder: Path, report: Report) -> Path:
    failures = []
    for obtain, target in ((_download, _downloaded_path()), (_build, _built_path())):
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=folder))
        try:
            program = await obtain(draft, report)
            # Whole or absent, whenever this is killed.
            return program.replace(target)
        except _SourceFailed as error:
            failures.append(str(error))
        finally:
            await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
    raise TemporalNotObtainable(
        "Temporal could not be obtained.\n"
        + "".join(f"  - {failure}\n" for failure in failures)
        + "Any one of these three ways will do: put a `temporal` program on the PATH or name it in "
        "LEDGER_TEMPORAL_BIN (https://docs.temporal.io/cli); allow the download from "
        f"temporal.download; or install Go, so that `go install {_BUILD_TARGET}` works."
    )


class _SourceFailed(Exception):
    """One way of obtaining Temporal did not work."""


async def _download(draft: Path, report: Report) -> Path:
    # The SDK downloads only as a part of starting a server, so one is started for a moment.
    report("Downloading Temporal")
    try:
        async with asyncio.timeout(limits.TEMPORAL_DOWNLOAD_LIMIT_S):
            environment = await WorkflowEnvironment.start_local(download_dest_dir=str(draft))
            await environment.shutdown()
    except (RuntimeError, TimeoutError) as error:
        raise _SourceFailed(f"download by the SDK: {_reason(error)}") from error
    programs = _programs_in(draft)
    if len(programs) != 1:
        raise _SourceFailed("download by the SDK: it left no program behind")
    return programs[0]


def _programs_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and os.access(path, os.X_OK)]


def _reason(error: Exception) -> str:
    return str(error) or "it did not end in time"


async def _build(draft: Path, report: Report) -> Path:
    go = shutil.which("go") or shutil.which(_USUAL_GO)
    if go is None:
        raise _SourceFailed("build with Go: there is no `go` on the PATH")
    folder = cache_folder()
    report(f"Building Temporal {_BUILD_VERSION} with Go; this takes some minutes, once")
    build = run_command(
        [go, "install", _BUILD_TARGET],
        folder=draft,
        environment=_build_environment(folder, draft),
        limit_s=limits.TEMPORAL_BUILD_LIMIT_S,
    )
    try:
        result = await _with_progress(build, report)
    except (OSError, TimeoutError) as error:
        raise _SourceFailed(f"build with Go: {_reason(error)}") from error
    if result.exit_code != 0:
        reason = "\n".join(result.output.splitlines()[-limits.LOG_TAIL_LINES :])
        raise _SourceFailed(f"build with Go: {reason}")
    report("Temporal is built")
    await asyncio.to_thread(shutil.rmtree, folder / "go", ignore_errors=True)
    return draft / "temporal"


def _build_environment(folder: Path, draft: Path) -> dict[str, str]:
    # Go's caches go below the cache folder, where they can be deleted after the build and where
    # a killed build finds them again. The caller's proxy and certificates stay in force.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LEDGER_") and name not in ("GOOS", "GOARCH")
    }
    return inherited | {
        "GOPATH": str(folder / "go"),
        "GOMODCACHE": str(folder / "go" / "modules"),
        "GOCACHE": str(folder / "go" / "build"),
        "GOBIN": str(draft),
        "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(),
        "CGO_ENABLED": "0",
    }


async def _with_progress(build: Awaitable[CommandResult], report: Report) -> CommandResult:
    started_s = asyncio.get_running_loop().time()
    task = asyncio.ensure_future(build)
    try:
        while not (await asyncio.wait({task}, timeout=limits.PROGRESS_INTERVAL_S))[0]:
            elapsed_s = asyncio.get_running_loop().time() - started_s
            report(f"Building Temporal: {elapsed_s:.0f} s")
        return await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

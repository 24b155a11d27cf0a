"""How a command shows that it works: bars on a terminal, lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)


class ProgressStyle(StrEnum):
    """AUTO: bars on a terminal, else LINES. LINES: one line a step. JSON: one object a move."""

    AUTO = "auto"
    LINES = "lines"
    JSON = "json"
    NONE = "none"


class Step(ABC):
    """One part of a command's work."""

    @abstractmethod
    def at(self, done: int, total: int | None = None) -> None:
        """So much is done now, of so much (if that is known better than before)."""


class Steps(ABC):
    """Where a command tells what it is doing."""

    @abstractmethod
    def say(self, line: str) -> None:
        """Tell one thing in passing."""

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        """Show a step while the block runs; without a total only that it runs."""
        step = self._begin(name, total)
        yield step
        self._end(step)

    def close(self) -> None:  # noqa: B027 most ways of showing progress have nothing to end
        """Leave the terminal as a shell expects it; anything written later is plain."""

    @abstractmethod
    def _begin(self, name: str, total: int | None) -> Step: ...

    @abstractmethod
    def _end(self, step: Step) -> None: ...


def steps_of(style: ProgressStyle, console: Console) -> Steps:
    """The way of showing progress that fits ``console``, which writes to stderr."""
    match style:
        case ProgressStyle.AUTO if console.is_terminal:
            return _BarSteps(console)
        case ProgressStyle.JSON:
            return _JsonSteps(console)
        case ProgressStyle.NONE:
            return _SilentSteps()
        case _:
            return _LineSteps(console)


class _Counted(Step):
    def __init__(self, name: str, total: int | None) -> None:
        self.name = name
        self.done = 0
        self.total = total
        self.began = time.perf_counter()

    def at(self, done: int, total: int | None = None) -> None:
        self.done = done
        self.total = total or self.total


class _SilentSteps(Steps):
    def say(self, line: str) -> None:
        pass

    def _begin(self, name: str, total: int | None) -> Step:
        return _Counted(name, total)

    def _end(self, step: Step) -> None:
        pass


class _LineSteps(Steps):
    """One line when a step has ended: logs of continuous integration stay readable."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        self._console.print(line, markup=False)

    def _begin(self, name: str, total: int | None) -> Step:
        return _Counted(name, total)

    def _end(self, step: Step) -> None:
        assert isinstance(step, _Counted)  # noqa: S101 narrows the type of what _begin made
        count = f" {step.total}" if step.total else ""
        self.say(f"{step.name}:{count} done in {time.perf_counter() - step.began:.1f} s")


class _JsonStep(_Counted):
    def __init__(self, name: str, total: int | None, console: Console) -> None:
        super().__init__(name, total)
        self._console = console

    def at(self, done: int, total: int | None = None) -> None:
        super().at(done, total)
        told = {"step": self.name, "done": self.done, "total": self.total}
        self._console.out(json.dumps(told), highlight=False)


class _JsonSteps(Steps):
    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, line: str) -> None:
        self._console.out(json.dumps({"message": line}), highlight=False)

    def _begin(self, name: str, total: int | None) -> Step:
        return _JsonStep(name, total, self._console)

    def _end(self, step: Step) -> None:
        pass


class _BarStep(Step):
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self.task = task

    def at(self, done: int, total: int | None = None) -> None:
        if total is None:
            self._progress.update(self.task, completed=done)
        else:
            self._progress.update(self.task, completed=done, total=total)


class _BarSteps(Steps):
    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )

    def say(self, line: str) -> None:
        self._console.print(line, markup=False)

    def close(self) -> None:
        self._progress.stop()

    def _begin(self, name: str, total: int | None) -> Step:
        self._progress.start()
        return _BarStep(self._progress, self._progress.add_task(name, total=total))

    def _end(self, step: Step) -> None:
        assert isinstance(step, _BarStep)  # noqa: S101 narrows the type of what _begin made
        total = next(each.total for each in self._progress.tasks if each.id == step.task)
        self._progress.update(step.task, total=total or 1, completed=total or 1)
        self._progress.refresh()

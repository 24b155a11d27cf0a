"""Alert rules and their runbooks: they fire on what they say, and name only what exists."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import typer
import yaml

from router.cli.app import build
from router.http.app import create_app
from router.http.metrics import AGES
from router.telemetry import Metrics
from router.wiring import Bank
from shard.suspense import Carrier, ItemState
from tests.support import house_rules
from tests.support.scripted_bank import ScriptedBank

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/alerts.yml"
TESTS = ROOT / "deploy/prometheus/alerts_test.yml"
RUNBOOKS = sorted((ROOT / "deploy/runbooks").glob("*.md"))
REQUIRE = "LEDGER_REQUIRE_PROMTOOL"

_METRIC = re.compile(r"\bledger_[a-z_]+")
_SELECTOR = re.compile(r"(ledger_[a-z_]+)\{([^}]*)\}")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"([^\"]*)\"")
_GROUPING = re.compile(r"\b(?:by|without|on)\s*\(([^)]*)\)")
_FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(ledger [^`]+)`")
_VALUES: Mapping[str, Iterable[str]] = {
    "state": ItemState,
    "carrier": Carrier,
    "age": AGES,
    "resolution": ("found", "not_found", "given_up"),
    "result": ("complete", "broken_off"),
}


def alerts() -> list[dict[str, Any]]:
    """Every rule."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


every_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
every_runbook = pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus's own tool, where it is installed."""
    found = shutil.which("promtool")
    if found is None:
        message = "promtool is not installed (Debian has it in its package prometheus)"
        if os.environ.get(REQUIRE):
            pytest.fail(f"{message}, and {REQUIRE} is set")
        pytest.skip(message)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", RULES),
        ("check", "config", RULES.with_name("prometheus.yml")),
        ("test", "rules", TESTS),
    ],
    ids=lambda arguments: f"{arguments[0]} {Path(arguments[2]).name}",
)
def test_prometheus_takes_the_rules_and_they_fire(
    promtool: str, arguments: tuple[str | Path, ...]
) -> None:
    """They are well formed, and each does what alerts_test.yml says."""
    ran = subprocess.run(
        [promtool, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert 0 == ran.returncode, ran.stdout + ran.stderr


def test_each_alert_is_seen_to_fire_and_to_be_quiet() -> None:
    """The tests have both of every alert."""
    cases = [
        (case["alertname"], bool(case["exp_alerts"]))
        for group in yaml.safe_load(TESTS.read_text())["tests"]
        for case in group["alert_rule_test"]
    ]
    expected = {(alert["alert"], fires) for alert in alerts() for fires in (True, False)}
    assert expected == set(cases)


@every_alert
def test_an_alert_says_what_it_is_about(alert: dict[str, Any]) -> None:
    """A severity, a summary, a description, and a runbook that is there."""
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert {"summary", "description", "runbook"} == set(alert["annotations"])
    assert (ROOT / alert["annotations"]["runbook"]).is_file()


@every_runbook
def test_a_runbook_belongs_to_the_alerts_it_names(runbook: Path) -> None:
    """Whoever is called finds his alert at its top, and nothing is there for no alert."""
    path = runbook.relative_to(ROOT).as_posix()
    expected = {each["alert"] for each in alerts() if each["annotations"]["runbook"] == path}
    (head,) = re.findall(r"^\*\*Alerts?\*\*.*$", runbook.read_text(), re.MULTILINE)
    assert expected
    assert expected == set(re.findall(r"`(Ledger\w+)`", head))


@every_runbook
def test_a_runbook_has_the_same_parts_as_any(runbook: Path) -> None:
    """What it means, what to look at, what to do, when to escalate: nobody searches at night."""
    parts = re.findall(r"^## (.*)$", runbook.read_text(), re.MULTILINE)
    assert ["What it means", "Look at", "Do", "Escalate"] == parts


@pytest.fixture
async def series() -> Mapping[str, set[str]]:
    """What a process tells, with the labels of each."""
    bank, metrics = ScriptedBank(), Metrics()
    create_app(cast(Bank, bank), metrics)
    metrics.swept(2, 1, is_complete=True)
    await bank.watch.look()
    return {
        sample.name: set(sample.labels)
        for family in metrics.registry.collect()
        for sample in family.samples
    }


@every_alert
async def test_an_alert_asks_for_what_is_told(
    alert: dict[str, Any], series: Mapping[str, set[str]]
) -> None:
    """Its metrics exist, with the labels it chooses and groups by."""
    expression = alert["expr"]
    named = set(_METRIC.findall(expression))
    assert named
    assert set() == named - set(series)
    for metric, matchers in _SELECTOR.findall(expression):
        assert set() == {label for label, _ in _MATCHER.findall(matchers)} - series[metric]
    grouped = {label for labels in _GROUPING.findall(expression) for label in _words(labels)}
    assert set() == grouped - set().union(*(series[metric] for metric in named)) - {"le"}


@every_alert
def test_an_alert_asks_for_values_that_occur(alert: dict[str, Any]) -> None:
    """A misspelt state would never be found."""
    for _, matchers in _SELECTOR.findall(alert["expr"]):
        for label, values in _MATCHER.findall(matchers):
            assert set() == set(values.split("|")) - set(map(str, _VALUES[label]))


@every_runbook
async def test_a_runbook_names_metrics_that_exist(
    runbook: Path, series: Mapping[str, set[str]]
) -> None:
    """Those of a histogram may be named without their endings."""
    ends = ("_bucket", "_count", "_sum")
    known = set(series) | {name.removesuffix(end) for name in series for end in ends}
    roles = {"ledger_posting"}
    assert set() == set(_METRIC.findall(runbook.read_text())) - known - roles


@every_runbook
def test_a_runbook_names_settings_that_exist(runbook: Path) -> None:
    """Each ``LEDGER_`` variable is one that the program reads."""
    named = house_rules.settings_named(runbook.read_text())
    settings = (ROOT / "router/settings.py").read_text()
    assert set() == named - house_rules.settings_defined(settings)


@every_runbook
def test_a_runbook_links_to_runbooks_that_exist(runbook: Path) -> None:
    """One leads to the next."""
    links = re.findall(r"\]\(([^)]+)\)", runbook.read_text())
    assert [] == [link for link in links if not runbook.with_name(link).is_file()]


def commands_in(text: str) -> list[str]:
    """Every command of ours that a text tells to type."""
    fenced = [line for block in _FENCE.findall(text) for line in block.splitlines()]
    return [line for line in fenced if line.startswith("ledger ")] + _INLINE.findall(text)


EVERY_COMMAND = sorted({line for path in RUNBOOKS for line in commands_in(path.read_text())})


@pytest.mark.parametrize("line", EVERY_COMMAND)
def test_a_command_of_a_runbook_can_be_typed(line: str) -> None:
    """It exists, takes these options, and as many arguments."""
    words = shlex.split(line)[1:]
    command: Any = typer.main.get_command(build())
    while hasattr(command, "commands"):
        assert words
        assert words[0] in command.commands
        command = command.commands[words.pop(0)]
    options = {option for each in command.params for option in each.opts}
    assert set() == {word for word in words if word.startswith("--")} - options
    with command.make_context(line, list(words), resilient_parsing=True) as context:
        left_over = list(context.args)
        given = {name for name, value in context.params.items() if value is not None}
    assert [] == left_over
    if words:
        assert set() == {each.name for each in command.params if each.required} - given


def test_runbooks_have_commands() -> None:
    """They are found in blocks and in sentences."""
    assert ["ledger a", "ledger b"] == commands_in("```sh\nledger a\n```\nThen `ledger b`.")
    assert "ledger sagas list --state needs_repair" in EVERY_COMMAND


def _words(labels: str) -> Iterator[str]:
    return (label.strip() for label in labels.split(",") if label.strip())

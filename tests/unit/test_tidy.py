"""The repository keeps its house rules, and each rule finds what breaks it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

from tests.support import house_rules
from tests.support.house_rules import Finding, Source

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "router" / "settings.py"

Rule = Callable[[Source], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Plant:
    """A text that breaks a rule on some lines, or on none."""

    rule: Rule
    path: str
    text: str
    lines: tuple[int, ...]


def lines_of(count: int, *, before: str = "", line: str = "    pass\n") -> str:
    return before + line * count


def function(lines: int) -> str:
    return lines_of(lines - 1, before="async def f() -> None:\n")


PLANTS = [
    Plant(house_rules.lines_fit, "shard/a.py", "x = 1 +" + " " * 93 + "1\n", (1,)),
    Plant(house_rules.lines_fit, "shard/a.sql", "\n-- " + "ab " * 33 + "\n", (2,)),
    Plant(house_rules.lines_fit, "shard/a.sql", "-- " + "ab " * 32 + "a\n", ()),
    Plant(house_rules.lines_fit, "shard/a.py", "# https://" + "a" * 120 + "\n", ()),
    Plant(house_rules.lines_fit, "README.md", "| " + "ab " * 50 + "|\n", ()),
    Plant(house_rules.functions_fit, "shard/a.py", function(61), (1,)),
    Plant(house_rules.functions_fit, "shard/a.py", function(60), ()),
    Plant(house_rules.files_fit, "shard/a.py", "\n" * 401, (1,)),
    Plant(house_rules.files_fit, "shard/a.sql", "\n" * 401, (1,)),
    Plant(house_rules.files_fit, "shard/a.py", "\n" * 400, ()),
    Plant(house_rules.files_fit, "tests/unit/test_a.py", "\n" * 601, (1,)),
    Plant(house_rules.files_fit, "tests/unit/test_a.py", "\n" * 600, ()),
    Plant(house_rules.names_are_precise, "shard/db_utils.py", "", (1,)),
    Plant(house_rules.names_are_precise, "router/common/routes.py", "", (1,)),
    Plant(house_rules.names_are_precise, "router/LockManager.py", "", ()),
    Plant(house_rules.names_are_precise, "shard/lanes.py", "", ()),
    Plant(house_rules.place_is_known, "scripts/run.py", "", (1,)),
    Plant(house_rules.place_is_known, "setup.py", "", (1,)),
    Plant(house_rules.place_is_known, "tests/data/x.xml", "", (1,)),
    Plant(house_rules.place_is_known, ".ci/run", "", ()),
    Plant(house_rules.place_is_known, "tests/unit/test_a.py", "", ()),
    Plant(house_rules.text_ends_cleanly, "Makefile", "all:\n\ttrue", (2,)),
    Plant(house_rules.text_ends_cleanly, "Makefile", "all:\n\ttrue\n\n", (3,)),
    Plant(house_rules.text_ends_cleanly, "shard/a.sql", "SELECT 1; \n-- x\r\n", (1, 2)),
    Plant(house_rules.text_ends_cleanly, "shard/__init__.py", "", ()),
    Plant(house_rules.paths_are_portable, "README.md", "x\nsee /" + "home/jane/x\n", (2,)),
    Plant(house_rules.paths_are_portable, "shard/a.py", 'X = "/' + 'tmp/x"\n', (1,)),
    Plant(house_rules.paths_are_portable, "README.md", "https://a.example/" + "home/x\n", ()),
    Plant(house_rules.sql_stands_in_sql_files, "shard/a.py", 'x = "SELECT 1"\n', (1,)),
    Plant(house_rules.sql_stands_in_sql_files, "shard/a.py", 'x = f"""\nUPDATE {t}"""\n', (1,)),
    Plant(house_rules.sql_stands_in_sql_files, "shard/a.py", 'x = "select a, b from c"\n', (1,)),
    Plant(house_rules.sql_stands_in_sql_files, "shard/a.py", 'x = "insert into c"\n', (1,)),
    Plant(house_rules.sql_stands_in_sql_files, "shard/a.py", 'x = "BEGIN"\n', (1,)),
    Plant(house_rules.sql_stands_in_sql_files, "shard/a.py", 'x = "Select one of them"\n', ()),
    Plant(house_rules.sql_stands_in_sql_files, "shard/a.py", 'x = {"DELETE", "GET"}\n', ()),
    Plant(house_rules.sql_stands_in_sql_files, "shard/a.py", '"""SELECT, explained."""\n', ()),
    Plant(house_rules.sql_stands_in_sql_files, "tests/unit/test_a.py", 'x = "SELECT 1"\n', ()),
    Plant(house_rules.public_names_have_docstrings, "shard/a.py", "x = 1\n", (1,)),
    Plant(house_rules.public_names_have_docstrings, "shard/a.py", '"""A."""\nclass B: ...\n', (2,)),
    Plant(
        house_rules.public_names_have_docstrings,
        "shard/a.py",
        '"""A."""\nclass B:\n    """B."""\n    async def c(self): ...\n    def _d(self): ...\n',
        (4,),
    ),
    Plant(house_rules.public_names_have_docstrings, "tests/unit/a.py", "def b(): ...\n", ()),
    Plant(
        house_rules.data_classes_are_frozen,
        "shard/a.py",
        "@dataclass\nclass A: ...\n@dataclass(frozen=True)\nclass B: ...\n"
        "@dataclass(frozen=True, slots=True)\nclass C: ...\n",
        (2, 4),
    ),
    Plant(
        house_rules.exceptions_carry_reasons,
        "shard/a.py",
        "a = 1  # noqa: S608\nb = 1  # type: ignore[x]\nc = 1  # noqa\n# mypy: x=y\n",
        (1, 2, 3, 4),
    ),
    Plant(
        house_rules.exceptions_carry_reasons,
        "shard/a.py",
        "a = 1  # noqa: S608, S101 the names are our own\n"
        "b = 1  # type: ignore[x]  # sepaxml ships no types\n"
        "c = '# noqa'\n",
        (),
    ),
    Plant(
        house_rules.tests_do_not_sleep,
        "tests/shard/test_a.py",
        "time.sleep(1)\nawait asyncio.sleep(0)\nsleep(2)\nx = 'pg_" + "sleep(1)'\n",
        (1, 2, 3, 4),
    ),
    Plant(
        house_rules.tests_do_not_sleep,
        "tests/support/a.py",
        "await asyncio.sleep(0.1)  # sleep: pg_stat_activity sends no events\n",
        (),
    ),
    Plant(
        house_rules.tests_do_not_time,
        "tests/shard/test_a.py",
        "assert time.monotonic() - start < 1\nassert elapsed_s < 2\nassert rows == 2\n",
        (1, 2),
    ),
    Plant(
        house_rules.tests_state_their_rule,
        "tests/shard/test_a.py",
        'async def test_a(): ...\ndef test_b():\n    """B."""\ndef c(): ...\n',
        (1,),
    ),
    Plant(house_rules.limits_stand_together, "shard/sub/limits.py", "", (1,)),
    Plant(
        house_rules.limits_stand_together,
        "shard/lanes.py",
        "_WAIT_S = 5.0\nROWS_MAX = 10 * 100\ntimeout = timedelta(seconds=1)\nMAX_NAME = 'x'\n"
        "LIMIT = timedelta(seconds=limits.WAIT_S)\n",
        (1, 2, 3),
    ),
    Plant(house_rules.limits_stand_together, "shard/limits.py", "WAIT_S = 5.0\n", ()),
    Plant(
        house_rules.limits_have_reasons,
        "shard/limits.py",
        'A_S = 1\nB_S = 1\n"""Why."""\n\n# Why.\nC_S = 1\nD_S = 1\n\nE_S = 1\n',
        (1, 9),
    ),
]


@cache
def sources() -> tuple[Source, ...]:
    """Every text that is committed, or would be by `git add --all`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    paths = [PurePosixPath(name) for name in sorted(set(listed.split("\0"))) if name]
    return tuple(Source(path, text) for path in paths if (text := _text(ROOT / path)) is not None)


def _text(path: Path) -> str | None:
    """What a file says; nothing for a file that is deleted, a link or not text."""
    if not path.is_file() or path.is_symlink():
        return None
    content = path.read_bytes()
    return None if b"\0" in content else content.decode()


def name_of(value: object) -> str:
    return getattr(value, "__name__", "")


@pytest.mark.parametrize("rule", house_rules.RULES, ids=name_of)
def test_the_repository_keeps_the_rule(rule: Rule) -> None:
    """Every file of the repository keeps every house rule."""
    findings = [str(finding) for source in sources() for finding in rule(source)]

    assert [] == findings, f"{rule.__doc__}\n" + "\n".join(findings)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: f"{name_of(plant.rule)}-{plant.path}")
def test_a_rule_finds_what_was_planted(plant: Plant) -> None:
    """A rule names exactly the lines that break it."""
    found = plant.rule(Source(PurePosixPath(plant.path), plant.text))

    assert plant.lines == tuple(sorted(finding.line_no for finding in found))


def test_every_rule_was_seen_to_fail() -> None:
    """No rule stands here that could not find anything."""
    assert set(house_rules.RULES) == {plant.rule for plant in PLANTS if plant.lines}


def test_this_check_looks_at_files() -> None:
    """The list of files is not empty by mistake: it holds this one."""
    assert Path(__file__).relative_to(ROOT) in {Path(source.path) for source in sources()}


@pytest.mark.skipif(not SETTINGS.exists(), reason="router/settings.py is not there yet")
@pytest.mark.parametrize("document", ["docker-compose.yml", "README.md"])
def test_named_settings_exist(document: str) -> None:
    """Every LEDGER_ variable of the compose file and the README is read by the program."""
    named = house_rules.settings_named((ROOT / document).read_text())
    defined = house_rules.settings_defined(SETTINGS.read_text())

    assert set() == named - defined - house_rules.settings_read(sources())


def test_settings_are_found_in_texts() -> None:
    """A misspelt setting is told from one that exists."""
    settings = "class Settings(BaseSettings):\n    http_port: int = 1\n    x = 2\n"
    reader = Source(PurePosixPath("deploy/a.py"), 'x = environ["LEDGER_DATA"]\n')

    assert {"LEDGER_HTTP_PROT", "LEDGER_DATA"} == house_rules.settings_named(
        "export LEDGER_HTTP_PROT=1 `LEDGER_DATA`, LEDGER_*"
    )
    assert {"LEDGER_HTTP_PORT"} == house_rules.settings_defined(settings)
    assert {"LEDGER_DATA"} == house_rules.settings_read([reader])

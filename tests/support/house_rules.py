"""The house rules that ruff, mypy and import-linter do not check.

Each rule is a pure function: a path and a text in, findings out. ``tests/unit/test_tidy.py``
holds every file of the repository against them, and a planted violation against each of them.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

PACKAGES = ("router", "sagas", "hotaccounts", "shard", "deploy")
COLUMNS = 100
FUNCTION_LINES = 60
FILE_LINES = 400
TEST_FILE_LINES = 600

_TOP_LEVEL = {
    *PACKAGES,
    "tests",
    "pyproject.toml",
    "requirements.lock",
    "README.md",
    "Makefile",
} | {
    "docker-compose.yml",
    "CHANGELOG.md",
    "LICENSE",
}
_TEST_FOLDERS = {"unit", "shard", "sagas", "hotaccounts", "router", "contract", "contention"} | {
    "browser",
    "chaos",
    "benchmarks",
    "support",
}
_VAGUE = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"}
# Prose and recordings (Temporal's histories) have lines of any length.
_PROSE = {".md", ".lock", ".json"}
_VERBATIM = {"LICENSE"}

# A keyword in capitals is SQL; in small letters only a whole phrase is, because English begins
# sentences with the same words.
_SQL = re.compile(
    r"""\s*(?:
        (?:SELECT|INSERT|UPDATE|DELETE|TRUNCATE|CREATE|ALTER|DROP|GRANT|REVOKE|WITH|CALL|EXPLAIN
            |COPY|LOCK|LISTEN|NOTIFY|SET|SHOW|SAVEPOINT)\s
        |(?:BEGIN|COMMIT|ROLLBACK|VACUUM|ANALYZE)\b
        |(?i:select\s+(?:\d|\*|[\w.]+\s*\(|[\w.]+(?:\s*,\s*[\w.]+)*\s+from\s+\w))
        |(?i:insert\s+into\s+\w|update\s+[\w.]+\s+set\s|delete\s+from\s+\w)
        |(?i:(?:create|alter|drop)\s+(?:table|index|role|database|schema|type|view|function)\s)
    )""",
    re.VERBOSE,
)
_EXCEPTION = re.compile(
    r"#\s*(?:noqa|type:\s*ignore|ruff:|mypy:|pragma:|nosec)(?P<rest>.*)", re.IGNORECASE
)
_CODES = re.compile(r"^\s*:?\s*(?:\[[\w\-, ]+\]|(?:[A-Z]+[0-9]+[\s,]*)+|no cover)?")
_A_REASON = re.compile(r"[A-Za-z]{2,}(?:\W+\w+){2,}")
_MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(?:home|Users|root|tmp|var/tmp|work)/\w")
_ELAPSED = re.compile(r"elapsed|duration|monotonic|perf_counter|time_ns|process_time")
_LIMIT_NAME = re.compile(r"_(?:S|MS)$|(?:^|_)(?:MAX|LIMIT|TIMEOUT)(?:_|$)")
_SETTING = re.compile(r"\bLEDGER_[A-Z0-9_]*[A-Z0-9]\b")
_SLEEP_IN_SQL = re.compile(r"pg_[s]leep")
_SLEEP_REASON = "# sleep: "


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that breaks a rule."""

    path: PurePosixPath
    line_no: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line_no}: {self.message}"


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the repository; its path is relative to the root."""

    path: PurePosixPath
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def is_python(self) -> bool:
        return self.path.suffix == ".py"

    @property
    def is_test(self) -> bool:
        return self.path.parts[0] == "tests"

    @property
    def is_product(self) -> bool:
        return self.path.parts[0] in PACKAGES

    def finding(self, where: int | ast.AST, message: str) -> Finding:
        line_no = where if isinstance(where, int) else getattr(where, "lineno", 1)
        return Finding(self.path, line_no, message)


_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def lines_fit(source: Source) -> Iterator[Finding]:
    """No line is longer than 100 columns, also in SQL, shell and YAML."""
    if source.path.suffix in _PROSE or source.path.name in _VERBATIM:
        return
    for line_no, line in enumerate(source.lines, start=1):
        if len(line) > COLUMNS and not _is_one_word(line):
            yield source.finding(line_no, f"{len(line)} columns, {COLUMNS} at most")


def _is_one_word(line: str) -> bool:
    """Addresses cannot be broken."""
    return len(line.lstrip("#- ").split()) == 1


def functions_fit(source: Source) -> Iterator[Finding]:
    """No function is longer than 60 lines."""
    for node in _nodes(source):
        if isinstance(node, _FUNCTION) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES:
                yield source.finding(node, f"{node.name}: {length} lines, {FUNCTION_LINES} at most")


def files_fit(source: Source) -> Iterator[Finding]:
    """No Python or SQL file is longer than 400 lines, no test longer than 600."""
    most = TEST_FILE_LINES if source.is_test else FILE_LINES
    if source.path.suffix in {".py", ".sql"} and len(source.lines) > most:
        yield source.finding(1, f"{len(source.lines)} lines, {most} at most")


def names_are_precise(source: Source) -> Iterator[Finding]:
    """No file or folder is called utils, helpers, manager or common."""
    for part in source.path.parts:
        vague = _VAGUE.intersection(re.split(r"[_.\-]", part.lower()))
        if vague:
            yield source.finding(1, f"{part}: name it after what it owns")


def place_is_known(source: Source) -> Iterator[Finding]:
    """The top level and the folder of the tests hold what ARCHITECTURE names, and dotfiles."""
    top, *below = source.path.parts
    if top not in _TOP_LEVEL and not top.startswith("."):
        yield source.finding(1, f"{top} does not belong to the top level")
    if top == "tests" and below[0] not in _TEST_FOLDERS | {"conftest.py"}:
        yield source.finding(1, f"{below[0]} does not belong to tests/")


def text_ends_cleanly(source: Source) -> Iterator[Finding]:
    """Every file ends with one newline and holds no trailing whitespace or carriage return."""
    if source.text and (not source.text.endswith("\n") or source.text.endswith("\n\n")):
        yield source.finding(len(source.lines), "ends with exactly one newline")
    for line_no, line in enumerate(source.text.split("\n"), start=1):
        if line != line.rstrip():
            yield source.finding(line_no, "trailing whitespace")


def paths_are_portable(source: Source) -> Iterator[Finding]:
    """No text names a folder of one machine."""
    for line_no, line in enumerate(source.lines, start=1):
        if _MACHINE_PATH.search(line):
            yield source.finding(line_no, "names a folder of one machine")


def sql_stands_in_sql_files(source: Source) -> Iterator[Finding]:
    """No package writes SQL in Python; tests may look into any table."""
    if not source.is_product:
        return
    docstrings = {id(constant) for constant in _docstrings(source)}
    for node in _nodes(source):
        text = _text(node)
        if text and id(node) not in docstrings and _SQL.match(text):
            yield source.finding(node, "SQL belongs into a .sql file")


def public_names_have_docstrings(source: Source) -> Iterator[Finding]:
    """Every public module, class, function and method of a package says what it is."""
    if not source.is_product or not source.is_python or not source.text.strip():
        return
    tree = ast.parse(source.text)
    if ast.get_docstring(tree) is None:
        yield source.finding(1, "the module has no docstring")
    yield from _undocumented(source, tree)


def _undocumented(source: Source, scope: ast.Module | ast.ClassDef) -> Iterator[Finding]:
    for node in scope.body:
        if not isinstance(node, (ast.ClassDef, *_FUNCTION)) or node.name.startswith("_"):
            continue
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        if ast.get_docstring(node) is None and not decorators & {"overload", "override"}:
            yield source.finding(node, f"{node.name} has no docstring")
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(source, node)


def data_classes_are_frozen(source: Source) -> Iterator[Finding]:
    """Data classes of the packages are frozen and have slots."""
    if not source.is_product:
        return
    for node in _nodes(source):
        for decorator in getattr(node, "decorator_list", []):
            call = ast.unparse(decorator)
            is_settled = "frozen=True" in call and "slots=True" in call
            if re.match(r"(dataclasses\.)?dataclass\b", call) and not is_settled:
                yield source.finding(node, f"{getattr(node, 'name', '')}: frozen with slots")


def exceptions_carry_reasons(source: Source) -> Iterator[Finding]:
    """Every exception from a check says why: `# noqa: S608 only names from our own schema`."""
    for line_no, comment in _comments(source):
        exception = _EXCEPTION.search(comment)
        if exception and not _A_REASON.search(_CODES.sub("", exception["rest"], count=1)):
            yield source.finding(line_no, "an exception from a check needs its reason")


def tests_do_not_sleep(source: Source) -> Iterator[Finding]:
    """Tests wait for events, not for time; `# sleep: reason` marks what has no other way."""
    if not source.is_test:
        return
    for node in _nodes(source):
        if _sleeps(node) and _SLEEP_REASON not in source.lines[getattr(node, "lineno", 1) - 1]:
            yield source.finding(node, "sleeps instead of waiting for an event")


def _sleeps(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return re.search(r"\bsleep$", ast.unparse(node.func)) is not None
    return _SLEEP_IN_SQL.search(_text(node) or "") is not None


def tests_do_not_time(source: Source) -> Iterator[Finding]:
    """No test asserts on elapsed time; benchmarks measure, and fail on balances only."""
    if not source.is_test:
        return
    for node in _nodes(source):
        if isinstance(node, ast.Assert) and _ELAPSED.search(_names(node.test)):
            yield source.finding(node, "asserts on elapsed time")


def tests_state_their_rule(source: Source) -> Iterator[Finding]:
    """Every test has a docstring: the rule it checks, in a sentence."""
    if not source.is_test or not source.path.name.startswith("test_"):
        return
    for node in _nodes(source):
        if not isinstance(node, _FUNCTION) or not node.name.startswith("test_"):
            continue
        if ast.get_docstring(node) is None:
            yield source.finding(node, f"{node.name} does not state its rule")


def limits_stand_together(source: Source) -> Iterator[Finding]:
    """A package's limits and time-outs are constants of its one limits.py, at its top."""
    if not source.is_product or not source.is_python:
        return
    if source.path.name == "limits.py":
        if len(source.path.parts) != 2:
            yield source.finding(1, "each package has one limits.py, at its top")
        return
    for node in ast.parse(source.text).body:
        for name, value in _assigned(node):
            if _LIMIT_NAME.search(name.upper()) and _is_quantity(value):
                yield source.finding(node, f"{name} belongs into limits.py")


def limits_have_reasons(source: Source) -> Iterator[Finding]:
    """Each constant of limits.py has a comment above it or a string below it."""
    if not source.is_product or source.path.name != "limits.py":
        return
    commented = {line_no for line_no, _ in _comments(source)}
    body = ast.parse(source.text).body
    reasons = {number for number in commented if number + 1 not in commented}
    explained = False
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)):
            explained = False
            continue
        above = node.lineno - 1 in reasons or node.lineno in commented
        # Constants that follow each other without a gap share the comment above the first.
        follows = explained and source.lines[node.lineno - 2].strip() != ""
        explained = above or follows or _is_string(after)
        if not explained:
            yield source.finding(node, f"{ast.unparse(node)}: why this much?")


def settings_named(text: str) -> set[str]:
    """The ledger's environment variables that a text names."""
    return set(_SETTING.findall(text))


def settings_defined(settings: str) -> set[str]:
    """The environment variables that class ``Settings`` of a module reads."""
    for node in ast.walk(ast.parse(settings)):
        if isinstance(node, ast.ClassDef) and node.name == "Settings":
            return {
                f"LEDGER_{statement.target.id.upper()}"
                for statement in node.body
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
            }
    return set()


def settings_read(sources: Iterable[Source]) -> set[str]:
    """The environment variables that the packages read past ``Settings``, by their whole names."""
    return {
        text
        for source in sources
        if source.is_product
        for node in _nodes(source)
        if (text := _text(node)) and _SETTING.fullmatch(text)
    }


RULES: tuple[Callable[[Source], Iterator[Finding]], ...] = (
    lines_fit,
    functions_fit,
    files_fit,
    names_are_precise,
    place_is_known,
    text_ends_cleanly,
    paths_are_portable,
    sql_stands_in_sql_files,
    public_names_have_docstrings,
    data_classes_are_frozen,
    exceptions_carry_reasons,
    tests_do_not_sleep,
    tests_do_not_time,
    tests_state_their_rule,
    limits_stand_together,
    limits_have_reasons,
)


def _nodes(source: Source) -> Iterator[ast.AST]:
    if source.is_python:
        yield from ast.walk(ast.parse(source.text))


def _docstrings(source: Source) -> Iterator[ast.Constant]:
    """Strings that stand as statements: docstrings, and the words below a constant."""
    for node in _nodes(source):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _comments(source: Source) -> Iterator[tuple[int, str]]:
    if source.is_python:
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def _names(expression: ast.expr) -> str:
    return " ".join(
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(expression)
        if isinstance(node, (ast.Attribute, ast.Name))
    )


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        yield node.target.id, node.value


def _is_quantity(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        given = [*value.args, *(keyword.value for keyword in value.keywords)]
        return ast.unparse(value.func).endswith("timedelta") and all(map(_is_quantity, given))
    return all(
        isinstance(node, (ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop))
        or (isinstance(node, ast.Constant) and isinstance(node.value, (int, float)))
        for node in ast.walk(value)
    )


def _is_string(node: ast.stmt | None) -> bool:
    return isinstance(node, ast.Expr) and _text(node.value) is not None


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None

"""The README says only what the repository holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
_TEST_NAME = re.compile(r"`(test_[a-z0-9_]+)`")
_TARGET = re.compile(r"\bmake ([a-z-]+)")


def test_every_test_that_is_named_exists() -> None:
    """A promise that names its test can be looked up."""
    defined = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = set(_TEST_NAME.findall(README))

    assert named
    assert set() == named - defined


def test_every_make_target_that_is_named_exists() -> None:
    """A command of the README can be typed."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set() == set(_TARGET.findall(README)) - targets


def test_every_dependency_has_its_reason() -> None:
    """The dependency table names each package of pyproject.toml."""
    declared = re.findall(
        r'^    "([a-z0-9-]+)[\[>]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    packages = [name for name in declared if not name.startswith("types-")]

    assert packages
    assert [] == [name for name in packages if f"`{name}`" not in README]

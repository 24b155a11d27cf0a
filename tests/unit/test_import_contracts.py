"""The contract of pure workflow files finds drivers, also behind what the files may import."""

from __future__ import annotations

import grimp
import pytest

from tests.support.import_contracts import PureModulesContract

CONTRACT = PureModulesContract(
    name="pure",
    session_options={},
    contract_options={
        "package": "sagas",
        "suffix": "_workflow",
        "may_import": ["sagas.messages"],
        "may_import_external": ["temporalio"],
    },
)


def violations(*imports: tuple[str, str]) -> list[str]:
    """What the contract finds in a package with these imports (importer, imported)."""
    graph = grimp.ImportGraph()
    for module in ("sagas", "sagas.messages", "sagas.convoy_workflow", "sagas.activities"):
        graph.add_module(module)
    for importer, imported in imports:
        graph.add_import(
            importer=importer, imported=imported, line_number=3, line_contents="import it"
        )
    check = CONTRACT.check(graph, verbose=False)
    found: list[str] = check.metadata["violations"]
    assert check.kept == (found == [])
    return found


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("sagas.convoy_workflow", "psycopg"),
        ("sagas.convoy_workflow", "sagas.activities"),
        ("sagas.convoy_workflow", "shard"),
        ("sagas.messages", "shard.commands"),
        ("sagas", "pydantic"),
    ],
)
def test_impure_imports_are_found(importer: str, imported: str) -> None:
    """A workflow, what it may import, and its package reach nothing that is not listed."""
    assert [f"{importer} must not import {imported} (line 3)"] == violations((importer, imported))


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("sagas.convoy_workflow", "sagas.messages"),
        ("sagas.convoy_workflow", "temporalio"),
        ("sagas.convoy_workflow", "dataclasses"),
        ("sagas.messages", "datetime"),
        ("sagas.activities", "psycopg"),
    ],
)
def test_pure_imports_are_kept(importer: str, imported: str) -> None:
    """The listed modules and the standard library are free, and other modules are not judged."""
    assert [] == violations((importer, imported))

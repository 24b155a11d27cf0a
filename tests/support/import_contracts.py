"""A contract type for import-linter: modules that are named alike and import next to nothing.

import-linter's wildcards replace whole module names, so ``sagas.*_workflow`` cannot be said
with the types it brings along.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class PureModulesContract(Contract):
    """Modules ``{package}.*{suffix}``, and all they reach, import only what is listed.

    The standard library is always allowed. The listed modules must be as pure as the modules
    themselves, so that no driver slips in behind them; the package's ``__init__`` is executed
    with any of them and therefore counts as reached.
    """

    package: Any = fields.StringField()
    suffix: Any = fields.StringField()
    may_import: Any = fields.SetField(subfield=fields.StringField(), required=False)
    may_import_external: Any = fields.SetField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look at every module in question; the metadata lists one line for each violation."""
        violations = sorted(self._violations(graph))
        return ContractCheck(kept=not violations, metadata={"violations": violations})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each import that is not allowed, with its line."""
        for violation in check.metadata["violations"]:
            output.print_error(violation)

    def _violations(self, graph: ImportGraph) -> Iterator[str]:
        pure = {
            module
            for module in graph.find_descendants(self.package)
            if module.rpartition(".")[2].endswith(self.suffix)
        }
        if not pure:
            return
        allowed = set(self.may_import or ())
        externals = set(self.may_import_external or ()) | sys.stdlib_module_names
        for importer in pure | {self.package} | (allowed & graph.modules):
            for imported in graph.find_modules_directly_imported_by(importer):
                if imported not in allowed and imported.partition(".")[0] not in externals:
                    yield from _lines(graph, importer, imported)


def _lines(graph: ImportGraph, importer: str, imported: str) -> Iterator[str]:
    for details in graph.get_import_details(importer=importer, imported=imported):
        line_no = details.get("line_number", "?")
        yield f"{importer} must not import {imported} (line {line_no})"

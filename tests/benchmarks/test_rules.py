"""Benchmarks stand on the program alone: on what it offers, and on nothing of its tests."""

import ast
from pathlib import Path

import pytest

PROGRAMS = sorted((Path(__file__).parents[2] / "benchmarks").rglob("*.py"))


def foreign_privates(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and name of each private field that is read of another object than `self` and `cls`."""
    return [
        (node.lineno, ast.unparse(node))
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        # Another project's rule, which has no public name there.
        and ast.unparse(node) != "lmms_eval._extract_answer_letter"
    ]


def imports_of_tests(tree: ast.AST) -> list[int]:
    """Lines that import from tests/."""
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [node.lineno for name in names if name.split(".")[0] == "tests"]  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_a_benchmark_reads_no_private_field_and_imports_no_test(program: Path) -> None:
    tree = ast.parse(program.read_text())
    assert imports_of_tests(tree) == []
    assert foreign_privates(tree) == []


def test_a_private_field_and_an_import_of_tests_would_be_found() -> None:
    tree = ast.parse(
        "from tests.a import b\nimport tests.c\nprint(engine._llm, self._own, self._own._llm, x.__class__)"
    )
    assert imports_of_tests(tree) == [1, 2]
    assert foreign_privates(tree) == [(3, "engine._llm"), (3, "self._own._llm")]

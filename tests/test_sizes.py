"""Files, functions and classes are small enough to read at once."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.program import ROOT, modules, nodes

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80
MAX_CLASS_LINES = 220
MAX_ATTRIBUTES = 12
REASON = re.compile(r"^\s*Large because \w+", re.MULTILINE)
"""In the docstring of a class that is larger: the line with the reason."""


def length(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def attributes(node: ast.ClassDef) -> set[str]:
    """What its methods set on `self`."""
    return {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }


def too_large(program: dict[Path, ast.Module]) -> Iterator[str]:
    """Functions and classes over their bounds."""
    for path, tree in program.items():
        for node in nodes(tree):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() if length(node) > MAX_FUNCTION_LINES:
                    yield f"{path}:{node.lineno} {node.name}: {length(node)} lines, most {MAX_FUNCTION_LINES}"
                case ast.ClassDef() if not REASON.search(ast.get_docstring(node) or ""):
                    if length(node) > MAX_CLASS_LINES:
                        yield f"{path}:{node.lineno} {node.name}: {length(node)} lines, most {MAX_CLASS_LINES}"
                    if len(attributes(node)) > MAX_ATTRIBUTES:
                        number = len(attributes(node))
                        yield f"{path}:{node.lineno} {node.name}: {number} attributes, most {MAX_ATTRIBUTES}"


def test_no_file_is_longer_than_its_bound() -> None:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in (*modules(), *modules("benchmarks"))}
    assert not {str(path): number for path, number in lengths.items() if number > MAX_FILE_LINES}


def test_no_function_or_class_is_larger_than_its_bound_without_a_reason_at_its_head() -> None:
    found = list(too_large({**modules(), **modules("benchmarks")}))
    assert not found, "\n".join(found)


def test_a_large_class_needs_a_reason_and_one_with_a_reason_may_be_large() -> None:
    body = "    def set(self):\n" + "".join(f"        self.a{number} = 0\n" for number in range(MAX_ATTRIBUTES + 1))
    large, excused = (
        ast.parse(f'class Engine:\n    """It runs.{reason}"""\n{body}')
        for reason in ("", "\n\n    Large because vLLM wants it whole.\n    ")
    )
    assert list(too_large({Path("a.py"): large})) == ["a.py:1 Engine: 13 attributes, most 12"]
    assert not list(too_large({Path("a.py"): excused}))

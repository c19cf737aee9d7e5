"""The program's source as tests of its rules read it."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = (
    *("spatial", "flow", "rewards", "vlm", "rollout", "learner", "corpora", "evaluation", "actors", "dashboard"),
    *("launch", "experiments"),
)
"""Those of the program, without its tests and benchmarks."""


@cache
def modules(*folders: str) -> dict[Path, ast.Module]:
    """By path from the root, the parsed files of these folders, or of the program."""
    files = (file for folder in folders or FOLDERS for file in sorted((ROOT / folder).rglob("*.py")))
    return {file.relative_to(ROOT): ast.parse(file.read_text(), filename=str(file)) for file in files}


@cache
def nodes(tree: ast.Module) -> list[ast.AST]:
    """All of a module's nodes: walking takes longer than reading."""
    return list(ast.walk(tree))

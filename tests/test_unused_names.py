"""The program holds no name that nothing uses: what only its tests use is no part of it."""

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from tests.program import ROOT, modules, nodes

WORD = re.compile(r"[A-Za-z_]\w*")
CALLED_BY_NAME = re.compile(r"[\w.:]+")
TYPE = re.compile(r"[\w.]+( \| [\w.]+)+|\"?[\w.]+\[[\w., \[\]|]+\](\"?| \| None)")
"""A type in quotes, such as "Future[Any]" or "Path | None"."""
CALLED_BY_PYTHON = {"property", "cached_property", "staticmethod", "classmethod", "cache", "contextmanager"}

ALLOWED: dict[str, set[str]] = {
    "transformers looks for it": {"config_class"},
    "vLLM looks for it": {"init_info_cls", "update_info_cls", "_weight_update_active", "log_engine_initialized"},
    "vLLM imports it by a name that rollout/plugin.py puts together": {
        *("GlooTrainerWeightTransferEngine", "NcclTrainerWeightTransferEngine", "NcclWeightTransferEngine"),
    },
    "logging, pickle or PyYAML looks for it": {
        *("emit", "find_class", "persistent_load", "yaml_implicit_resolvers"),
    },
    "launch/machine/torchvision_hook.py writes it into a .pth file": {"activate"},
    "it is written to a file together with the other fields": {"num_centers", "num_failures_by_deadline"},
    "corpora/marked.py puts the name together": {
        f"{colour}_{form}" for colour in ("red", "blue", "green", "yellow") for form in ("point", "bbox")
    },
    "the tests of the renderer measure by it": {"visible_px", "visible_share"},
}


def definitions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Functions, classes and constants of a module, methods, fields and attributes of its classes: name and line."""
    scopes: list[ast.Module | ast.ClassDef] = [tree]
    for node in nodes(tree):
        match node:
            case ast.ClassDef():
                scopes.append(node)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name, node.lineno
    for each in chain.from_iterable(scope.body for scope in scopes):
        match each:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if not is_registered(each):
                yield each.name, each.lineno
            case ast.ClassDef():
                yield each.name, each.lineno
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name, each.lineno


def is_registered(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a decorator hands it to a framework that calls it: a command, a callback, a validator."""
    names = {ast.unparse(decorator).partition("(")[0].rpartition(".")[2] for decorator in function.decorator_list}
    return bool(names - CALLED_BY_PYTHON)


def uses(tree: ast.Module) -> Iterator[str]:
    """Names that are read, called or imported, and those in texts: a call by name, a type in quotes."""
    for node in nodes(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Load()):
                yield name
            case ast.ImportFrom():
                yield from (alias.name for alias in node.names)
            case ast.MatchClass():
                yield from node.kwd_attrs
            case ast.Constant(value=str() as text) if len(text) < 200:
                if CALLED_BY_NAME.fullmatch(text) or TYPE.fullmatch(text):
                    yield from WORD.findall(text)


def unused_names(program: dict[Path, ast.Module], users: dict[Path, ast.Module], texts: list[Path]) -> dict[str, str]:
    """By name, where the program defines it, as far as neither itself, nor `users`, nor the words of `texts` use it."""
    used = set(chain.from_iterable(map(uses, [*program.values(), *users.values()])))
    used.update(*(WORD.findall(file.read_text()) for file in texts))
    return {
        name: f"{path}:{line}"
        for path, tree in program.items()
        for name, line in definitions(tree)
        if name not in used and not (name.startswith("__") and name.endswith("__"))
    }


def test_every_name_is_used() -> None:
    texts = [*ROOT.glob("*/templates/*.j2"), ROOT / "pyproject.toml"]
    unused = unused_names(modules(), modules("benchmarks"), texts)
    allowed = set(chain.from_iterable(ALLOWED.values()))
    assert not {name: place for name, place in unused.items() if name not in allowed}
    assert allowed & unused.keys() == allowed, f"used, or gone: {allowed - unused.keys()}"


def test_an_unused_function_constant_field_and_attribute_would_be_found() -> None:
    source = (
        "LIMIT = 3\ndef helper(): return Pair(left=1, right=2).left\n"
        "class Pair:\n    left: int\n    right: int\n    def __init__(self): self.middle = 2\n"
    )
    found = unused_names({Path("a.py"): ast.parse(source)}, {}, [])
    assert found == {"LIMIT": "a.py:1", "helper": "a.py:2", "right": "a.py:5", "middle": "a.py:6"}

"""Imports run one way, as the table in CONTRIBUTING.md says."""

import ast
import re
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| `(?P<folder>[a-z]+)/` \| [^|]* \| (?P<allowed>[^|]*) \|$", re.MULTILINE)


def allowed_imports() -> dict[str, set[str]]:
    """By folder, the folders that it may import, of the table in CONTRIBUTING.md."""
    found: dict[str, set[str]] = {}
    for row in ROW.finditer((ROOT / "CONTRIBUTING.md").read_text()):
        names = set(re.findall(r"`([a-z]+)`", row["allowed"]))
        found[row["folder"]] = names | (set(found) if "all above" in row["allowed"] else set())
    return found


def imported_folders(file: Path, folders: set[str]) -> Iterator[tuple[int, str]]:
    """Line and folder of each import of this project in a file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name.split(".")[0]) for name in names if name.split(".")[0] in folders)


ALLOWED = allowed_imports()


def test_the_table_has_every_folder_of_the_program() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/*.py")} - {"tests", "requirements", "benchmarks"}
    assert folders <= set(ALLOWED), folders - set(ALLOWED)


@pytest.mark.parametrize("folder", sorted(ALLOWED.keys() - {"tests"}))
def test_a_folder_imports_what_the_table_allows(folder: str) -> None:
    strays = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        for line, name in imported_folders(file, set(ALLOWED))
        if name != folder and name not in ALLOWED[folder]
    ]
    assert not strays, "\n".join(strays)


def test_modules_import_each_other_in_no_circle() -> None:
    files = {module_name(file): file for folder in ALLOWED for file in (ROOT / folder).rglob("*.py")}
    graph = {name: sorted(set(imported_modules(file, files.keys()))) for name, file in files.items()}
    with pytest.raises(CycleError) as told:
        tuple(TopologicalSorter({**graph, "a": ["b"], "b": ["a"]}).static_order())  # that a circle would be found
    assert {"a", "b"} <= set(told.value.args[1])
    tuple(TopologicalSorter(graph).static_order())  # raises, and names the circle


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(file: Path, known: Collection[str]) -> Iterator[str]:
    """The project's modules that a file imports when it is itself imported (not later, within a function)."""
    here = module_name(file).split(".")
    package = here if file.name == "__init__.py" else here[:-1]
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                name = f"{module}.{alias.name}"
                yield from (found for found in ((name,) if name in known else (module,)) if found in known)

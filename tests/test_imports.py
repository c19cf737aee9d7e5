"""Imports run one way, as the table in CONTRIBUTING.md says."""

import ast
import re
from collections.abc import Collection, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.program import FOLDERS, ROOT, modules, nodes

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
ROW = re.compile(r"^\| `(?P<folder>[a-z]+)/` \| [^|]* \| (?P<allowed>[^|]*) \|$", re.MULTILINE)


ORDER = re.compile(r"^    (?P<folder>[a-z]+)/ +(?P<order>[a-z]+(?: → [a-z]+)+)$", re.MULTILINE)
PARTS = {
    ("dashboard", "actors"): {"actors.run.run_folder", "actors.run.status", "actors.pool.member", "actors.errors"},
    ("dashboard", "evaluation"): {"evaluation.benchmarks.registry"},
    ("experiments", "launch"): {"launch.settings.config"},
}
"""Where the table allows a part of a folder ("`launch`'s config"): the modules that this is."""


def allowed_imports() -> dict[str, set[str]]:
    """By folder, the folders that it may import, of the table in CONTRIBUTING.md."""
    found: dict[str, set[str]] = {}
    for row in ROW.finditer(CONTRIBUTING):
        names = set(re.findall(r"`([a-z]+)`", row["allowed"]))
        found[row["folder"]] = names | (set(found) if "all above" in row["allowed"] else set())
    return found


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and module of each import of this project in a file, wherever it stands."""
    for node in nodes(modules()[file]):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] in ALLOWED)


ALLOWED = allowed_imports()


def test_the_table_has_every_folder_of_the_program() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/*.py")} - {"tests", "requirements", "benchmarks"}
    assert folders == set(FOLDERS) == set(ALLOWED) - {"tests"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_what_the_table_allows(folder: str) -> None:
    strays = [
        f"{file}:{line} imports {name}"
        for file in modules()
        for line, name in imports(file)
        if file.parts[0] == folder and name.split(".")[0] not in {folder, *ALLOWED[folder]}
    ]
    assert not strays, "\n".join(strays)


def test_of_a_folder_that_is_allowed_in_part_only_that_part_is_imported() -> None:
    in_part = {
        (row["folder"], name)
        for row in ROW.finditer(CONTRIBUTING)
        for name in re.findall(r"`([a-z]+)`(?:'s?)", row["allowed"])
    }
    assert in_part == set(PARTS)
    strays = [
        f"{file}:{line} imports {name}"
        for file in modules()
        for line, name in imports(file)
        if name not in PARTS.get((file.parts[0], name.split(".")[0]), {name})
    ]
    assert not strays, "\n".join(strays)


@pytest.mark.parametrize(("folder", "order"), [(row["folder"], row["order"]) for row in ORDER.finditer(CONTRIBUTING)])
def test_a_subfolder_imports_from_those_before_it_and_from_the_modules_beside(folder: str, order: str) -> None:
    places = {name: place for place, name in enumerate(order.split(" → "))}
    assert {file.parts[1] for file in modules() if file.parts[0] == folder and len(file.parts) > 2} == set(places)

    def place(path: Sequence[str]) -> int:
        """-1 beside the subfolders."""
        return places.get(path[1], -1)

    strays = [
        f"{file}:{line} imports {name}"
        for file in modules()
        for line, name in imports(file)
        if file.parts[0] == folder and name.startswith(f"{folder}.") and place(name.split(".")) > place(file.parts)
    ]
    assert not strays, "\n".join(strays)


def test_all_folders_with_many_subfolders_have_their_order_in_the_text() -> None:
    assert [row["folder"] for row in ORDER.finditer(CONTRIBUTING)] == ["actors", "launch", "corpora"]


def test_path_is_always_pathlibs() -> None:
    files = (file for folder in (*FOLDERS, "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py"))
    aliased = [
        str(file) for file in files if re.search(r"^from pathlib import .*\bas\b", file.read_text(), re.MULTILINE)
    ]
    assert not aliased, aliased


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

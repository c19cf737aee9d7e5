"""What documents say is so: tests, files, names, links and listings that they show exist."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import get_args

import pytest

from flow.score import Score
from launch.settings.config import RunConfig
from launch.settings.schema import settings_of
from spatial.grammar import parse_response
from spatial.sample import ReasoningPath, SpatialSample
from spatial.tasks import Task

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TOPS = [path for path in ROOT.iterdir() if path.name[0] != "." and path.name not in ("runs", "wandb", "build", "dist")]
FILES = {
    str(path.relative_to(ROOT))
    for top in TOPS
    for path in ([top] if top.is_file() else top.rglob("*"))
    if path.is_file() and "__pycache__" not in path.parts
}
FOLDERS = {str(parent) for name in FILES for parent in Path(name).parents} - {"."}
PACKAGES = {name.partition("/")[0] for name in FILES if name.endswith(".py") and "/" in name}
TEXTS = [ROOT / name for name in sorted(FILES) if name.endswith(".md")]

NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`")
IN_BACKTICKS = re.compile(r"`([^`\n]+)`")
A_PATH = re.compile(r"[\w.-]+(?:/[\w.*-]+)*/?")
A_FILE = re.compile(r"(?<![\w/.…])\w[\w-]*(?:/[\w.*-]+)+\.(?:py|md|yaml|json|png|svg)\b")
A_DOTTED_NAME = re.compile(r"\w+(?:\.(?!json$|jsonl$|py$|md$|yaml$|png$)\w+)+")
CITED_PAGE = re.compile(r"""(docs/\w+\.md)((?:[ ,(]+"[^"]+")*)""")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LISTING = re.compile(r"(?:^    .*\n|^\n(?=    ))+", re.MULTILINE)
MOST_WORDS_OF_README = 1500


def of_documents(texts: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("document", texts, ids=lambda path: str(path.relative_to(ROOT)))


def spans_of_code(document: Path) -> Iterator[str]:
    """What stands in backticks outside listings."""
    yield from IN_BACKTICKS.findall(LISTING.sub("", document.read_text()))


def anchors_of(document: Path) -> set[str]:
    """The anchors that GitHub gives to a text's headings."""
    headings = HEADING.findall(LISTING.sub("", document.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def names_in(file: str) -> set[str]:
    """Names that a module defines or imports, and `Class.name` of what its classes define."""
    found: set[str] = set()
    for node in ast.parse((ROOT / file).read_text()).body:
        found |= names_of(node)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner}" for statement in node.body for inner in names_of(statement)}
    return found


def names_of(node: ast.stmt) -> set[str]:
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return {node.name}
        case ast.Assign():
            return {target.id for target in node.targets if isinstance(target, ast.Name)}
        case ast.AnnAssign() if isinstance(node.target, ast.Name):
            return {node.target.id}
        case ast.Import() | ast.ImportFrom():
            return {alias.asname or alias.name for alias in node.names}
    return set()


def is_a_name_of_the_program(dotted: str) -> bool:
    """Whether `package.module`, `package.module.name` or `package.module.Class.name` exists."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        stem = "/".join(parts[:length])
        if stem in FOLDERS and length == len(parts):
            return True
        for file in (f"{stem}.py", f"{stem}/__init__.py"):
            if file in FILES:
                rest = ".".join(parts[length:])
                return not rest or rest in names_in(file)
    return False


@cache
def settings() -> set[str]:
    return {setting.key for setting in settings_of(RunConfig)}


def is_a_setting(key: str) -> bool:
    """Whether a config has the key: a field, the `type` of a section, or an entry of a list or of a mapping by path."""
    key = re.sub(r"\.\d+\.", ".N.", key)
    parent, _, entry = key.rpartition(".")
    return key in settings() or (parent in settings() and entry in {"type", *ReasoningPath, *get_args(Task)})


@of_documents(DOCUMENTS)
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    missing = [
        f"{file}::{test}"
        for file, test in NAMED_TEST.findall(document.read_text())
        if not (ROOT / file).is_file() or (test and f"def {test}(" not in (ROOT / file).read_text())
    ]
    assert not missing, missing


def test_the_list_of_faults_names_tests() -> None:
    assert len(NAMED_TEST.findall((ROOT / "docs" / "faults.md").read_text())) > 60


@of_documents(DOCUMENTS)
def test_every_file_and_folder_that_a_document_names_exists(document: Path) -> None:
    spans = [span for span in spans_of_code(document) if A_PATH.fullmatch(span)]
    named = [*spans, *A_FILE.findall(document.read_text())]  # listings and commands name files, too
    ours = [path for path in named if "/" in path and path.partition("/")[0] in FOLDERS]
    missing = [path for path in ours if not list(ROOT.glob(path.rstrip("/")))]
    assert not missing, missing


@of_documents(DOCUMENTS)
def test_every_module_name_and_setting_that_a_document_gives_exists(document: Path) -> None:
    names = [span.removesuffix("()").partition("=")[0].partition(":")[0] for span in spans_of_code(document)]
    dotted = [name for name in names if A_DOTTED_NAME.fullmatch(name)]
    ours = [name for name in dotted if name.partition(".")[0] in PACKAGES | set(RunConfig.model_fields)]
    missing = [name for name in ours if not is_a_setting(name) and not is_a_name_of_the_program(name)]
    assert not missing, missing


def test_a_name_that_does_not_exist_is_found() -> None:
    assert is_a_name_of_the_program("flow.score.Score")
    assert is_a_name_of_the_program("spatial.sample.ReasoningPath.LOR")
    assert is_a_name_of_the_program("spatial.scenes")
    assert not is_a_name_of_the_program("flow.score.Skore")
    assert not is_a_name_of_the_program("spatial.sample.ReasoningPath.LOUD")
    assert is_a_setting("training.filter.min_mean_reward")
    assert is_a_setting("prompt.own_instructions.lor")
    assert not is_a_setting("training.filter.min_reward")


@of_documents(TEXTS)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in LINK.findall(document.read_text()):
        target, _, anchor = link.partition("#")
        file = (document.parent / target).resolve() if target else document
        if "://" in link:
            continue
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            broken.append(link)
    assert not broken, broken


def test_every_page_and_heading_that_the_source_cites_exists() -> None:
    missing = []
    for file in sorted(name for name in FILES if name.endswith((".py", ".yaml"))):
        text = " ".join((ROOT / file).read_text().split())
        for page, headings in CITED_PAGE.findall(text):
            if not (ROOT / page).is_file():
                missing.append(f"{file}: {page}")
                continue
            there = HEADING.findall((ROOT / page).read_text())
            missing += [
                f"{file}: {page}, {cited}" for cited in re.findall(r'"([^"]+)"', headings) if cited not in there
            ]
    assert not missing, missing


def test_every_page_of_docs_is_linked_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in LINK.findall((ROOT / "README.md").read_text())}
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= linked


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= MOST_WORDS_OF_README


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
@pytest.mark.parametrize("figure", ["LOR right", "DTR right", "median error of detected centres"])
def test_the_figures_of_the_demo_are_those_that_were_measured(page: str, figure: str) -> None:
    seeds = json.loads((ROOT / "benchmarks" / "results" / "demo_three_seeds.json").read_text())[figure]
    cold, rl = (f"{mean(seeds[phase]):.3f} ± {stdev(seeds[phase]):.3f}" for phase in ("cold", "rl"))
    assert f"| {figure} | {cold} | {rl} |" in (ROOT / page).read_text().replace(" m |", " |")


def readme_listing(first: str) -> str:
    """The listing of the README that begins so, without its indent."""
    (listing,) = [
        found for found in LISTING.findall((ROOT / "README.md").read_text()) if found.strip().startswith(first)
    ]
    return "\n".join(line.removeprefix("    ") for line in listing.strip("\n").splitlines())


def test_the_readmes_row_is_read_and_its_reward_scores_it(tmp_path: Path) -> None:
    row = json.loads(readme_listing('{"sample_id"'))
    row["images"] = [{"sha256": "0" * 64, "width_px": 640, "height_px": 480}]
    sample = SpatialSample.model_validate_json(json.dumps(row))
    names: dict[str, object] = {}
    exec(readme_listing("from flow.score"), names)
    brief = names["brief"]
    assert callable(brief)
    for path, chain in sample.chains.items():
        score = brief(chain, ReasoningPath(path), sample)
        assert isinstance(score, Score)
        assert (score.total, score.accuracy) == (1.0, 1.0)
        assert parse_response(ReasoningPath(path), chain).well_formed
    assert brief("2.1 m", ReasoningPath.LOR, sample).total == 0.0

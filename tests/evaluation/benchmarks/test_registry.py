"""All benchmarks by name, and where their files are looked for."""

from pathlib import Path

import pytest

from evaluation.benchmarks.registry import BENCHMARKS, find_benchmark
from evaluation.benchmarks.tables import local_folder
from evaluation.benchmarks.vsi import Vsi
from spatial.images import ImageStore

README = Path(__file__).parents[3] / "evaluation" / "benchmarks" / "README.md"


def test_all_benchmarks_are_found_by_name_and_listed_in_the_readme() -> None:
    assert len(BENCHMARKS) >= 13
    text = README.read_text(encoding="utf-8")
    for name, benchmark in BENCHMARKS.items():
        assert find_benchmark(name) is benchmark
        assert benchmark.name == name
        assert f"\n| `{name}` |" in text


@pytest.mark.parametrize(
    ("wrong", "right"), [("3dsrbench", "3dsr"), ("VSI", "vsi"), ("spatial-rgpt", "spatialrgpt"), ("x", "spatialrgpt")]
)
def test_a_wrong_name_is_told_with_the_nearest_and_all(wrong: str, right: str) -> None:
    with pytest.raises(
        KeyError, match=f"{wrong} is no benchmark; did you mean .*There are spatialrgpt, spar"
    ) as caught:
        find_benchmark(wrong)
    if wrong != "x":
        assert f"did you mean {right}?" in str(caught.value)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_an_empty_folder_is_told_with_what_it_must_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match="give the folder that holds") as caught:
        list(BENCHMARKS[name].load(tmp_path, ImageStore(tmp_path / "store")))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_says_itself_whether_it_takes_frames(name: str) -> None:
    benchmark = BENCHMARKS[name]
    if name == "vsi":
        assert benchmark.with_frames(8) == Vsi(num_frames=8)
    else:
        with pytest.raises(ValueError, match=f"^{name} asks about images, not videos; leave it out$"):
            benchmark.with_frames(8)


def test_no_answer_and_no_questions_have_figures_too() -> None:
    for benchmark in BENCHMARKS.values():
        assert benchmark.summarise([]) == {}


def test_a_data_set_of_the_hub_is_found_in_its_cache_and_never_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "datasets--owner--bench" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (tmp_path / "datasets--owner--bench" / "refs").mkdir()
    (tmp_path / "datasets--owner--bench" / "refs" / "main").write_text("a" * 40)
    assert local_folder(Path("owner/bench")) == snapshot
    with pytest.raises(FileNotFoundError, match="no such data set in the hub's cache; fetch it"):
        local_folder(Path("owner/another"))


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert local_folder(tmp_path) == tmp_path
    assert local_folder(tmp_path / "none") == tmp_path / "none"
    assert local_folder(Path("a/b/c")) == Path("a/b/c")

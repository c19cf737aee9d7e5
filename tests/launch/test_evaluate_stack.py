"""`sr-real evaluate` and validation questions during training, on real Ray, vLLM and DeepSpeed with a tiny model."""

import json
from pathlib import Path

import pytest

from evaluation.report import Report
from tests.evaluation.benchmarks.layouts import write_parquet
from tests.evaluation.benchmarks.test_cv import COUNT, RELATION
from tests.launch.test_end_to_end import BASE, SMALL, metrics, run

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

FEW = [*SMALL, "dashboard.enabled=false", "evaluation={num_questions: 4, num_samples: 1}"]


@pytest.mark.slow
def test_two_models_are_asked_the_same_and_compared(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    other = tmp_path / "other"  # of the same files
    other.mkdir()
    for file in BASE.iterdir():
        (other / file.name).symlink_to(file)
    models = ["--checkpoint", str(BASE), "--checkpoint", str(other)]
    output = run("evaluate", *models, "--paths", "lor,dtr", f"run={folder}", *FEW)
    assert "McNemar p = 1.000" in output
    first, second = (Report.read(file) for file in sorted(folder.glob("evaluations/*/results.json")))
    # The same weights and seeds: the same responses, one engine after the other.
    assert [o.response for o in first.responses] == [o.response for o in second.responses]
    assert len(first.responses) == 2 * 4 * 2
    (comparisons,) = [each.comparisons for each in (first, second) if each.comparisons]
    assert {(c.path.value, c.mode, c.num_lost, c.num_won) for c in comparisons} == {
        (path, mode, 0, 0) for path in ("lor", "dtr") for mode in ("greedy", "sampled")
    }
    assert all((file.parent / "page.html").exists() for file in folder.glob("evaluations/*/results.json"))


def test_held_out_questions_are_answered_while_training_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_parquet(tmp_path / "cv" / "test_2d.parquet", [COUNT, RELATION])
    benchmark = f"training.benchmarks=[{{name: cv, folder: {tmp_path / 'cv'}}}]"
    asked = ["training.evaluate_every=1", "training.evaluate_questions=2", "training.num_steps=3", benchmark]
    run("train", "--from", str(BASE), f"run={folder}", *FEW, *asked)
    rows = metrics(folder)
    assert [row["step"] for row in rows] == [1, 2, 3]
    found = [row for row in rows if "validation/version" in row]
    assert found
    for row in found:
        assert 0 <= row["validation/lor/accuracy"] <= 1
        assert row["validation/dtr/num_questions"] == 2
        assert row["validation/failures"] == row["validation/cv/failures"] == 0
        assert 0 <= row["validation/cv/lor/overall"] <= 1
        assert row["validation/version"] <= row["validation/newest_version"] < row["step"]
    assert json.loads((folder / "summary.json").read_text())["rl"]["intervals"]["lor_accuracy"]

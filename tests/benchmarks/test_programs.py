"""The benchmark programs run, small, and end with the figures that are read from them. How fast is not looked at."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAMS = [
    (["coordinator", "--workers", "20", "--trajectories", "2000"], {"trajectories_per_s", "memory_growth_mb", "ratio"}),
    (["data", "--samples", "2000"], {"samples_per_s", "memory_growth_mb"}),
    (["dashboard", "--steps", "40", "--trajectories", "400", "--watched-s", "3"], {"open_s", "filter_ms", "step_cost"}),
    (["images", "--groups", "4"], {"planned_images", "images", "seconds"}),
    (["push", "--sizes", "10", "--receivers", "1", "--rounds", "1"], {"ratio", "rows"}),
    (["render"], {"images_per_s", "ratio"}),
    (["rewards"], {"responses_per_s", "ratio"}),
]


@pytest.mark.parametrize(("arguments", "figures"), PROGRAMS, ids=[arguments[0] for arguments, _ in PROGRAMS])
def test_a_program_ends_with_a_line_of_json_that_has_its_figures(arguments: list[str], figures: set[str]) -> None:
    program, *options = arguments
    command = [sys.executable, "-m", f"benchmarks.{program}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert figures <= found.keys()


def test_letters_are_counted_beside_the_published_extraction(tmp_path: Path) -> None:
    rows = [
        {"full_prediction": "The answer is (B).", "prediction": "(B)"},  # all read it
        {"full_prediction": "The correct answer is **B**. Option A fails.", "prediction": "(B)"},  # ours and others
        {"full_prediction": "Neither (A) nor (B).", "prediction": "(Z) none"},
        {"full_prediction": "A", "prediction": "(B)"},  # all read it otherwise
    ]
    for model, split in (("model", rows), ("model, concatenate images", rows)):
        (tmp_path / model).mkdir()
        (tmp_path / model / "Relative_Depth.json").write_text(json.dumps({"val": split}))
    command = [sys.executable, "-m", "benchmarks.letters", "--outputs", str(tmp_path), "--show", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "--- model, Relative Depth: A, extracted B\nA\n" in done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["answers"] == 4
    assert found["rules"]["ours"] == {
        "read": 3,
        "share_read": 0.75,
        "other": 1,
        "share_other": pytest.approx(1 / 3, abs=1e-6),
        "where_none": 0,
    }
    assert {"VLMEvalKit", "lmms-eval"} < found["rules"].keys()
    assert found["rules"]["VLMEvalKit"]["read"] == 2
    assert found["ratio"] == 1.5

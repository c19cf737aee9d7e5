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
    (["dashboard", "--steps", "40", "--trajectories", "400"], {"open_s", "filter_ms", "step_cost"}),
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

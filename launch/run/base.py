"""`make base`: the small pretrained model that the demo starts from, as a real run starts from a pretrained VLM."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from launch.run.driver import Driver
from launch.run.ready import Needs
from launch.settings.config import RunConfig
from launch.settings.targets import check_free_folder
from launch.show.summary import print_phases
from learner.checkpoint_store import newest_whole

RECORD = "base.json"


def make_base(config: RunConfig, preset: str, overrides: Sequence[str], out: Path, console: Console) -> None:
    """Train a cold start (or continue one) on the tasks of the config's blend, and copy the result to `out`.

    Beside the model stands `base.json`: the command, the seed, how much data and time it took, and what it can do.
    """
    checkpoints = Path(config.run) / "cold_start_checkpoints"
    resume_from, _ = newest_whole(checkpoints.resolve())
    check_free_folder(out, RECORD, "`sr-real base`")
    with Driver(config, console, Needs(phases=["cold_start"])) as run:
        figures = run.cold_start(resume_from).summary
    print_phases({"base": figures}, console)
    if out.exists():
        shutil.rmtree(out)
    shutil.copytree(run.folder.cold_start_model, out)
    direct = figures["paths"]["direct"]
    # The place of the run does not describe the model.
    changes = [override for override in overrides if not override.startswith("run=")]
    record = {
        "command": " ".join(["sr-real base", *([] if preset == "base" else [f"--config {preset}"]), *changes]),
        "seed": config.seed,
        "blend": config.learner.sft.blend,
        "responses": figures["num_responses"],
        "steps": figures["num_steps"],
        "responses_per_step": config.learner.sft.rows_per_batch,
        "hours": round(figures["seconds"] / 3600, 2),
        "right_greedy_by_kind": direct["accuracy_greedy_by_kind"],
        "region_centers_by_domain": direct["centers_by_domain"],
    }
    (out / RECORD).write_text(json.dumps(record, indent=1) + "\n")

"""Each preset for GPUs against `doctor`, on the machine that it names; and its arithmetic against doctor's."""

import re
from pathlib import Path

import pytest

from launch.machine.fit import LocalNode, Node, Told, examine_config, examine_time
from launch.settings.config import PRESETS, RunConfig, load_config

SHAPES = Path("tests/shapes")
ONE_H100 = [LocalNode({"GPU": 1.0}, 79.6, "NVIDIA H100 80GB HBM3")]
EIGHT_H100 = [LocalNode({"GPU": 8.0}, 79.6, "NVIDIA H100 80GB HBM3")]
# One node of ray_cluster.yaml for the learner, and two for engines.
CLUSTER = [
    Node({"CPU": 96, "GPU": 8, "learner": 8, "accelerator_type:A100-80G": 1}),
    *[Node({"CPU": 96, "GPU": 8, "rollout": 8, "accelerator_type:A100-40G": 1})] * 2,
]
MACHINES = {
    "qwen3vl_2b_1gpu": ONE_H100,
    "qwen25vl_7b_lora_1gpu": ONE_H100,
    "qwen3vl_8gpu": EIGHT_H100,
    "cluster_8b": CLUSTER,
}


def load(preset: str) -> RunConfig:
    """The preset with the shape of its model, which is not on this machine."""
    name = load_config(preset).model.path.split("/")[-1]  # type: ignore[union-attr]
    return load_config(preset, [f"model.path={SHAPES / name}"])


def head(preset: str) -> str:
    """The comment at the top of a preset, as one line."""
    lines = (PRESETS / f"{preset}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))


@pytest.mark.parametrize("preset", MACHINES)
def test_a_preset_fits_the_machine_that_it_names(preset: str) -> None:
    config, nodes = load(preset), MACHINES[preset]
    found = [*examine_config(config, nodes), *examine_time(config, nodes, Told())]
    assert {finding.name: finding.detail for finding in found if finding.status != "ok"} == {}
    assert {"model", "learner's GPU", "time of a step", "deadline of an update"} <= {finding.name for finding in found}


@pytest.mark.parametrize("preset", MACHINES)
def test_the_memory_that_a_preset_states_is_what_doctor_computes(preset: str) -> None:
    findings = {finding.name: finding.detail for finding in examine_config(load(preset), MACHINES[preset])}
    parts = re.search(r"\((.*?)\)", findings["learner's GPU"])
    assert parts is not None
    for part in parts[1].split(", "):
        assert part.split()[-1] in head(preset), f"{preset}: {part} GiB is not in its comment"


@pytest.mark.parametrize(
    ("preset", "response_tokens"), [("qwen3vl_2b_1gpu", 300), ("qwen25vl_7b_lora_1gpu", 300), ("qwen3vl_8gpu", 1024)]
)
def test_the_time_that_a_preset_states_is_what_doctor_estimates(preset: str, response_tokens: int) -> None:
    told = Told(response_tokens=response_tokens)
    time, *_ = examine_time(load(preset), MACHINES[preset], told)
    stated = re.search(r"a step in ([\d.]+ (?:s|min))", time.detail)
    assert stated is not None
    assert f"{stated[1].replace('min', 'minutes')} a step" in head(preset)


def test_the_presets_for_gpus_all_have_a_machine_here() -> None:
    on_gpus = {file.stem for file in PRESETS.glob("*.yaml") if load_config(file).model.type == "checkpoint"}
    assert on_gpus - {"demo", "demo_gpu"} == set(MACHINES)


def test_the_demo_fits_a_card_of_16_gb() -> None:
    findings = {one.name: one for one in examine_config(load_config("demo_gpu"), [LocalNode({"GPU": 1.0}, 14.6, "T4")])}
    assert {one.status for one in findings.values()} == {"ok"}
    assert "activations 4.9" in findings["learner's GPU"].detail
    assert "activations 4.9 GiB" in head("demo_gpu")

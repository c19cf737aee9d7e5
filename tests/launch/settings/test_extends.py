"""A config that extends another is that one with what it gives itself."""

from pathlib import Path

import pytest

from launch.settings.config import ConfigError, load_config


def write(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


def test_what_is_not_given_is_the_other_ones(tmp_path: Path) -> None:
    demo = load_config("demo")
    mine = load_config(write(tmp_path, "extends: demo\nseed: 7\nlearner: {sft: {steps: 3}}\n"), ["run=runs/mine"])
    assert (mine.seed, mine.learner.sft.steps, mine.run) == (7, 3, "runs/mine")
    sft = mine.learner.sft.replace(steps=demo.learner.sft.steps)
    learner = mine.learner.replace(sft=sft)
    assert mine.replace(seed=demo.seed, run=demo.run, learner=learner) == demo


def test_another_type_starts_from_its_own_defaults_and_weights_by_name_are_replaced_whole(tmp_path: Path) -> None:
    mine = load_config(write(tmp_path, "extends: demo\nlearner: {optimizer: {type: adamw}, sft: {blend: {lor: 1}}}\n"))
    assert mine.learner.optimizer.learning_rate != load_config("demo").learner.optimizer.learning_rate
    assert mine.learner.sft.blend == load_config("demo", ["learner.sft.blend={lor: 1}"]).learner.sft.blend


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("extends: nobody", "config nobody does not exist"),
        ("extends: demo_gpu", "extends another; extend that one"),
        ("extends: demo\nsede: 3", "sede: unknown key; did you mean 'seed'?"),
    ],
)
def test_what_cannot_be_extended_or_read_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert told in str(caught.value)


def test_the_demo_on_a_gpu_is_the_same_demo() -> None:
    """What is asked, of whom, for how long and with which marks."""
    cpu, gpu = load_config("demo"), load_config("demo_gpu")
    same = ("seed", "prompt", "training", "rewards", "evaluation", "model", "data")
    assert {name: getattr(cpu, name) for name in same} == {name: getattr(gpu, name) for name in same}
    assert cpu.rollout.sampling == gpu.rollout.sampling
    assert cpu.learner == gpu.learner.replace(deepspeed=cpu.learner.deepspeed)

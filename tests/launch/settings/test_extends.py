"""A config that extends another is that one with what it gives itself."""

from pathlib import Path

import pytest

from launch.settings.config import PRESETS, ConfigError, load_config


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


def refused(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("extends: nobody", "mine.yaml: it extends nobody: config nobody does not exist in"),
        ("extends: demo_gqu", "did you mean the preset demo_gpu?"),
        ("extends: demo_gpu", "extends another (demo); only one can be extended: extend demo, or copy"),
        ("extends: mine.yaml", "it extends mine.yaml: that is this file itself"),
        ("extends:\nseed: 3", "extends: this takes the name of a preset or a file, such as extends: demo (given: None"),
        ("extends: [demo]", "such as extends: demo (given: ['demo'])"),
        ("extend: demo", "extend: unknown key; did you mean 'extends'?"),
        ("extends: demo\nsede: 3", "sede: unknown key; did you mean 'seed'?"),
    ],
)
def test_what_cannot_be_extended_or_read_is_named(tmp_path: Path, text: str, told: str) -> None:
    assert told in refused(write(tmp_path, text))


@pytest.mark.parametrize(
    ("neighbour", "told"),
    [
        ("", "nothing to extend"),
        ("- 1", "it holds a list, not keys with values"),
        ("a: [1,", "while parsing"),
        ("extends: mine.yaml", "extends this file in turn; remove one of the two"),
    ],
)
def test_a_fault_of_the_file_that_is_extended_is_told_as_that_file_s(tmp_path: Path, neighbour: str, told: str) -> None:
    (tmp_path / "ours.yaml").write_text(neighbour)
    message = refused(write(tmp_path, "extends: ours.yaml"))
    assert message.startswith(f"config {tmp_path / 'mine.yaml'}: it extends ours.yaml: ")
    assert told in message


def test_a_wrong_key_may_stand_in_the_file_that_is_extended_so_both_are_named(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text(PRESETS.joinpath("demo.yaml").read_text() + "\nsede: 3\n")
    mine = write(tmp_path, "extends: ours.yaml")
    assert refused(mine).startswith(f"config {mine} (extends ours.yaml): 1 fault\n  sede: unknown key")


def test_a_file_is_looked_for_beside_the_one_that_extends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, elsewhere = tmp_path / "ours", tmp_path / "elsewhere"
    for folder, seed in ((ours, 7), (elsewhere, 8)):
        folder.mkdir()
        demo = PRESETS.joinpath("demo.yaml").read_text()
        (folder / "base.yaml").write_text(demo.replace("seed: 0", f"seed: {seed}"))
    monkeypatch.chdir(elsewhere)
    assert load_config(write(ours, "extends: base.yaml")).seed == 7


def test_the_demo_on_a_gpu_is_the_same_demo() -> None:
    """What is asked, of whom, for how long and with which marks."""
    cpu, gpu = load_config("demo"), load_config("demo_gpu")
    same = ("seed", "prompt", "training", "rewards", "evaluation", "model", "data")
    assert {name: getattr(cpu, name) for name in same} == {name: getattr(gpu, name) for name in same}
    assert cpu.rollout.sampling == gpu.rollout.sampling
    assert cpu.learner == gpu.learner.replace(deepspeed=cpu.learner.deepspeed)

"""Benchmarks that training asks: read before anything starts, or refused by the name of the setting."""

from pathlib import Path

import pytest
from rich.console import Console

from actors.run.run_folder import RunFolder
from launch.run.exams import exams_of_training
from launch.settings.config import ConfigError, RunConfig, load_config
from spatial.images import ImageStore
from tests.evaluation.benchmarks.layouts import write_parquet
from tests.evaluation.benchmarks.test_cv import COUNT, RELATION


def wanting(name: str, folder: Path, *settings: str) -> RunConfig:
    benchmarks = f"training.benchmarks=[{{name: {name}, folder: {folder}}}]"
    return load_config("demo", ["training.evaluate_every=1", benchmarks, *settings])


def test_a_benchmark_is_read_and_its_images_lie_beside_those_of_the_run(tmp_path: Path) -> None:
    write_parquet(tmp_path / "cv" / "test_2d.parquet", [COUNT, RELATION])
    folder = RunFolder(tmp_path / "run")
    (exam,) = exams_of_training(wanting("cv", tmp_path / "cv"), folder, Console(quiet=True))
    assert [question.task for question in exam.questions] == ["Count", "Relation"]
    (image,) = exam.samples[0].images
    assert not ImageStore(folder.images).path(image).exists()
    engines = ImageStore(folder.images, also=[folder.benchmark_images])
    assert engines.open(image).size == (image.width_px, image.height_px)
    assert exams_of_training(load_config("demo"), folder, Console(quiet=True)) == []


def test_a_benchmark_that_cannot_be_asked_is_refused_by_the_setting_that_names_it(tmp_path: Path) -> None:
    folder, quiet = RunFolder(tmp_path / "run"), Console(quiet=True)
    with pytest.raises(ConfigError, match=r"training\.benchmarks\.0\.name: cvb is no benchmark; did you mean cv\?"):
        exams_of_training(wanting("cvb", tmp_path), folder, quiet)
    with pytest.raises(ConfigError, match=r"training\.benchmarks\.0: CV-Bench: .*"):
        exams_of_training(wanting("cv", tmp_path), folder, quiet)
    write_parquet(tmp_path / "cv" / "test_2d.parquet", [COUNT])
    only_dtr = "training.groups_per_step={lor: 0, dtr: 4}"
    with pytest.raises(ConfigError, match="no question may be asked through dtr, only through"):
        exams_of_training(wanting("cv", tmp_path / "cv", only_dtr), folder, quiet)

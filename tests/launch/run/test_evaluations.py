"""`sr-real evaluate` without engines: its options, what it refuses before anything starts, where results go."""

from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from evaluation.benchmarks.vsi import Vsi
from evaluation.report import Report, compare_reports, make_report
from launch.commands.cli import app
from launch.commands.evaluate_cli import benchmark_of, evaluation_of, models_of, print_comparison, print_figures
from launch.run.evaluations import slug
from launch.run.exams import check_fit
from launch.settings.config import ConfigError, load_config
from spatial.sample import ReasoningPath
from tests.evaluation.exams import SETTINGS, answered, make_exam, make_question

CONFIG = load_config("demo")
OWN = CONFIG.evaluation


def evaluation(**given: object):  # type: ignore[no-untyped-def]
    options = {"paths": None, "samples": None, "temperature": None, "limit": None, "is_benchmark": False}
    return evaluation_of(CONFIG, **{**options, **given})  # type: ignore[arg-type]


def test_without_options_the_configs_evaluation_is_asked_and_of_a_benchmark_all_greedily() -> None:
    assert evaluation() == OWN
    assert evaluation(is_benchmark=True) == OWN.replace(num_samples=0, greedy=True, num_questions=None)
    assert evaluation(is_benchmark=True, limit=7).num_questions is None  # the exam itself is shortened, by items
    assert evaluation(limit=7).num_questions == 7


def test_samples_temperature_and_paths_replace_what_the_config_says() -> None:
    found = evaluation(is_benchmark=True, samples=4, temperature=0.7, paths="dtr, lor")
    assert (found.num_samples, found.temperature, found.greedy) == (4, 0.7, True)
    assert found.paths == (ReasoningPath.DTR, ReasoningPath.LOR)
    assert evaluation(is_benchmark=True, temperature=0.7).num_samples == 1
    greedy = evaluation(temperature=0.0)
    assert (greedy.num_samples, greedy.greedy) == (0, True)
    with pytest.raises(ConfigError, match="greedy responses are all the same"):
        evaluation(temperature=0.0, samples=3)
    with pytest.raises(ConfigError, match="ltr is no path; known are lor, dtr, direct"):
        evaluation(paths="lor,ltr")


def model_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_a_model_to_evaluate_must_be_a_model_folder_and_be_named_once(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "final_model")
    assert models_of(None, tmp_path) == (model,)
    with pytest.raises(ConfigError, match="not a model folder"):
        models_of([tmp_path], tmp_path)
    with pytest.raises(ConfigError, match="given twice"):
        models_of([model, tmp_path / "." / "final_model"], tmp_path)


def test_models_of_the_run_are_filed_by_name_and_others_told_apart(tmp_path: Path) -> None:
    assert slug(tmp_path / "final_model", tmp_path) == "final_model"
    names = {slug(Path(f"/models/{run}/run/final model"), tmp_path) for run in "ab"}
    assert len(names) == 2
    assert all(name.startswith("run-final_model-") for name in names)


def test_questions_that_the_engines_or_the_paths_cannot_take_are_refused() -> None:
    question = make_question("q0")
    check_fit(make_exam(question), OWN.paths, CONFIG)
    with pytest.raises(ConfigError, match="only through dtr, lor"):
        check_fit(make_exam(question), [ReasoningPath.DIRECT], CONFIG)
    two = question.sample.replace(images=question.sample.images * 2)
    with pytest.raises(ConfigError, match=r"has 2 images, but rollout\.engine\.max_images_per_prompt=1; set it to 2"):
        check_fit(make_exam(type(question)(two, "count")), OWN.paths, CONFIG)


def test_a_benchmark_without_its_folder_and_a_bad_baseline_are_refused_before_anything_starts(tmp_path: Path) -> None:
    model_folder(tmp_path / "final_model")

    def refused(*options: str) -> str:
        found = CliRunner().invoke(app, ["evaluate", f"run={tmp_path}", *options])
        assert isinstance(found.exception, ConfigError)
        return str(found.exception)

    assert "give both or neither" in refused("--benchmark", "cv")
    assert "give the results.json of an evaluation" in refused("--against", str(tmp_path / "none.json"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final_model"]


def two_results() -> tuple[Report, Report]:
    exam = make_exam(*(make_question(f"q{number}", "[bold]depth") for number in range(20)))
    before = make_report(exam, answered({f"q{n}": "A" if n < 10 else "B" for n in range(20)}), "/m/before", SETTINGS)
    after = make_report(exam, answered({f"q{n}": "A" for n in range(20)}), "/m/after", SETTINGS)
    return before, after.replace(comparisons=compare_reports(exam, before, after))


def test_tables_show_intervals_and_differences_and_markup_in_names_stays_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, after = two_results()
    console = Console(width=120)
    print_figures(before, console)
    print_comparison(after, after.comparisons[0], console)
    shown = " ".join(capsys.readouterr().out.split())
    assert "task/[bold]depth" in shown
    assert "50.0 [" in shown
    assert "after − before, LOR greedy" in shown
    assert "of 20 questions 10 won and 0 lost, McNemar p = 0.002" in shown


def test_frames_are_a_video_benchmarks_own() -> None:
    found = benchmark_of("vsi", 8)
    assert isinstance(found, Vsi)
    assert found.num_frames == 8
    assert benchmark_of("cv", None).name == "cv"
    with pytest.raises(ConfigError, match="cv asks about images"):
        benchmark_of("cv", 8)
    with pytest.raises(ConfigError, match="vsi"):
        benchmark_of("vsii", None)

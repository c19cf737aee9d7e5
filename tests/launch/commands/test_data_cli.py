"""`sr-real data`, as a person calls it."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from corpora.readers.hugging_face import HuggingFaceReader
from corpora.readers.registry import READER_TYPES
from launch.commands.cli import app
from launch.commands.data_cli import load_import_config
from launch.settings.config import ConfigError
from tests.corpora.readers.test_native import by_file, lay_out, write

RUNNER = CliRunner()


def test_an_import_of_one_set_takes_its_settings_at_the_top(tmp_path: Path) -> None:
    config = load_import_config(None, ["out=data/x", "type=spar", "file=a.jsonl", "images=b", "max_bad_share=0.2"])
    assert config.max_bad_share == 0.2
    assert [(reader.type, str(reader.file)) for reader in config.readers] == [("spar", "a.jsonl")]  # type: ignore[union-attr]


def test_the_help_of_an_import_lists_the_readers() -> None:
    shown = RUNNER.invoke(app, ["data", "import", "--help"], env={"COLUMNS": "200"}).output
    assert len(READER_TYPES) >= 8
    assert f"Types: {', '.join(READER_TYPES)}." in " ".join(shown.split())


def test_an_empty_split_means_all_of_them() -> None:
    columns = ["columns.question=q", "columns.answer=a", "columns.image=i"]
    (reader,) = load_import_config(None, ["out=x", "type=hugging_face", "hub=x/y", "split=", *columns]).readers
    assert isinstance(reader, HuggingFaceReader)
    assert reader.split == ""


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["out=x", "type=sparr", "file=a"], "  type: there is no type 'sparr'; did you mean 'spar'"),
        (["out=x", "type=spar", "file=a", "images=b", "fle=c"], "  fle: unknown key; did you mean 'file'"),
        (["type=spar", "file=a", "images=b"], "out: missing"),
    ],
)
def test_a_setting_that_cannot_be_is_named_before_anything_is_read(settings: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_import_config(None, settings)


def test_a_path_that_does_not_exist_is_named_by_its_field(tmp_path: Path) -> None:
    lost = tmp_path / "lost.jsonl"
    done = RUNNER.invoke(app, ["data", "import", f"out={tmp_path / 'out'}", "type=own", f"file={lost}"])
    assert isinstance(done.exception, ConfigError)
    assert f"file={lost}: there is no such file or folder" in str(done.exception)
    folder = RUNNER.invoke(app, ["data", "import", f"out={tmp_path / 'out'}", "type=own", f"file={tmp_path}"])
    assert isinstance(folder.exception, ConfigError)
    assert "is a folder, but this type reads a file" in str(folder.exception)


def test_a_place_that_cannot_be_written_to_is_told_before_anything_is_read(tmp_path: Path) -> None:
    file, rows = lay_out(tmp_path)
    config = write(file, rows)
    (tmp_path / "taken").write_text("mine")
    settings = [f"out={tmp_path / 'taken'}", "type=own", f"file={file}", f"images={config.images}"]
    with pytest.raises(ConfigError, match="taken is not writable"):
        RUNNER.invoke(app, ["data", "import", *settings], catch_exceptions=False)
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_misspelt_column_is_told_with_the_nearest_and_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"problem": "How many?", "solution": "7", "path": "a.jpg"}) + "\n")
    names = ["columns.question=probelm", "columns.answer=solution", "columns.image=path"]
    settings = [f"out={tmp_path / 'out'}", "type=hugging_face", f"file={tmp_path / 't.jsonl'}", *names]
    done = RUNNER.invoke(app, ["data", "import", *settings])
    assert isinstance(done.exception, ConfigError)
    assert "columns.question='probelm': there is no such column; did you mean 'problem'?" in str(done.exception)


def test_rows_that_are_left_out_are_told_by_cause_with_an_example(tmp_path: Path) -> None:
    file, rows = lay_out(tmp_path, num=60)
    for number, row in enumerate(rows[:3]):
        row["images"][0] = row["images"][0] | {"sha256": f"{number}" * 64}
    config = write(file, rows)
    command = ["data", "import", f"out={tmp_path / 'out'}", "type=own", f"file={file}", f"images={config.images}"]
    done = RUNNER.invoke(app, command, env={"COLUMNS": "250"})
    assert done.exit_code == 0, done.output
    assert "left out, by cause" in done.output
    counted = json.loads((tmp_path / "out/report.json").read_text())["rejects"]
    assert list(counted.values()) == [3]
    assert next(iter(counted)).startswith("images.sha256: ")
    assert "rows.jsonl:1: images.0.sha256" in done.output.replace("\n", "")


def test_import_then_check_then_a_picture(tmp_path: Path) -> None:
    file, rows = lay_out(tmp_path, num=40, num_images=30)
    config = write(file, rows)
    out = tmp_path / "out"
    done = RUNNER.invoke(app, ["data", "import", f"out={out}", "type=own", f"file={file}", f"images={config.images}"])
    assert done.exit_code == 0, done.output
    assert json.loads((out / "report.json").read_text())["num_rejects"] == 0
    picture = tmp_path / "samples.png"
    checked = RUNNER.invoke(app, ["data", "check", str(out / "train.jsonl"), "--show", "3", "--out", str(picture)])
    assert checked.exit_code == 0, checked.output
    assert "0 bad lines" in checked.output
    assert picture.stat().st_size > 10_000


def test_check_names_bad_lines_and_ends_with_status_1(tmp_path: Path) -> None:
    file, rows = lay_out(tmp_path, num=2)
    write(file, [rows[0], rows[0]])
    checked = RUNNER.invoke(app, ["data", "check", str(file)], env={"COLUMNS": "200"})
    assert checked.exit_code == 1
    assert "rows.jsonl:2: sample_id" in checked.output.replace("\n", "")


def test_check_says_what_looks_wrong_draws_it_first_and_leaves_the_store_alone(tmp_path: Path) -> None:
    file, rows = lay_out(tmp_path, num=4, num_images=4)
    for row in rows:
        row["camera"] = {"fx_px": 8.0, "fy_px": 8.0, "cx_px": 4.0, "cy_px": 4.0}
        row["regions"][0]["center_m"] = [-0.3, -0.3, 1.5]
    # The third of them has y pointing up, and so lies below the camera's middle instead of above it.
    rows[2]["regions"][0] |= {"center_m": [-0.3, 0.6, 1.5]}
    write(file, rows)
    before = sorted((tmp_path / "images").rglob("*"))
    picture = tmp_path / "samples.png"
    arguments = ["data", "check", str(file), "--show", "2", "--out", str(picture)]
    checked = RUNNER.invoke(app, arguments, env={"COLUMNS": "300"})
    assert checked.exit_code == 1, checked.output
    assert "looks wrong: 1 of 4 (25.0%) 3D centres do not lie in their region's box" in checked.output
    assert "such as s2: 1 of them would if they were in a frame in which y points up" in checked.output
    assert "4 samples, 0 bad lines; 1 thing looks wrong" in checked.output
    assert "drew 2 samples" in checked.output
    assert sorted((tmp_path / "images").rglob("*")) == before


def test_check_with_a_config_counts_what_its_engines_would_not_take_and_says_what_would_fit(tmp_path: Path) -> None:
    file, rows = lay_out(tmp_path, num=40, num_images=30)
    write(file, rows)
    command = ["data", "check", str(file), "--config", "demo"]
    fits = RUNNER.invoke(app, command, env={"COLUMNS": "300"})
    assert fits.exit_code == 0, fits.output
    tight = "rollout.engine.max_model_len=190"
    found = RUNNER.invoke(app, [*command, tight], env={"COLUMNS": "300"})
    assert found.exit_code == 1
    output = " ".join(found.output.split())
    told = re.search(r"40 of 40 \(100.0%\) have no room for .* set rollout\.engine\.max_model_len=(\d+)", output)
    assert told is not None, found.output
    enough = RUNNER.invoke(app, [*command, f"rollout.engine.max_model_len={told[1]}"])
    assert enough.exit_code == 0, enough.output
    lacking = RUNNER.invoke(app, ["data", "check", str(file), tight])
    assert isinstance(lacking.exception, ConfigError)
    assert "name it with --config" in str(lacking.exception)
    # A tiny model that does not exist yet has the same tokens: one for each word.
    tiny = ["model={type: tiny, merge_size: 1}", f"rollout.engine.max_model_len={int(told[1]) - 1}"]
    other = RUNNER.invoke(app, [*command, *tiny], env={"COLUMNS": "300"})
    assert f"set rollout.engine.max_model_len={told[1]}" in " ".join(other.output.split()), other.output


def test_check_reads_rows_that_name_files_before_they_are_imported(tmp_path: Path) -> None:
    file, rows = by_file(tmp_path, num=3)
    rows[1]["images"] = [{"file": "lost.png"}]
    write(file, rows)
    checked = RUNNER.invoke(app, ["data", "check", str(file)], env={"COLUMNS": "300"})
    assert checked.exit_code == 1
    assert "rows.jsonl:2: images.0.file" in checked.output
    assert "2 samples, 1 bad lines" in checked.output
    assert not list((tmp_path / "images").rglob("*.jpg"))

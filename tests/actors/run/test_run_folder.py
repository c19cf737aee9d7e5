import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.run.line_files import replace
from actors.run.run_folder import RunFolder
from spatial.json_lines import read_lines


def test_a_new_run_in_an_old_folder_sets_aside_what_was_there_and_loses_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    assert folder.set_aside(folder.metrics, folder.checkpoints) is None
    for step in (1, 2):
        folder.append_metrics({"step": step})
        (folder.checkpoints / f"step-00000{step}").mkdir()
        assert folder.set_aside(folder.metrics, folder.checkpoints) == tmp_path / "earlier" / f"00{step}"
        assert folder.read_metrics() == []
        assert list(folder.checkpoints.iterdir()) == []
    assert (tmp_path / "earlier" / "001" / "metrics.jsonl").read_text() == '{"step": 1}\n'
    assert (tmp_path / "earlier" / "002" / "checkpoints" / "step-000002").is_dir()


@pytest.mark.parametrize("name", ["metrics", "groups", "timeline", "cold_start_metrics"])
def test_a_torn_last_line_is_dropped_and_said(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    file: Path = vars(folder)[name]
    file.write_text('{"step": 1}\n{"step": 2, "lor/rewa')
    assert read_lines(file) == [{"step": 1}]
    assert f"{file}: its last line was cut short" in caplog.text
    folder.append_metrics({"step": 2})
    folder.append_timeline(2, [])
    folder.append_cold_start_metrics([{"step": 2}])
    if name != "groups":
        assert [row["step"] for row in read_lines(file)] == [1, 2]
    folder.truncate_metrics(1)
    folder.truncate_cold_start_metrics(1)
    assert file.read_text() == '{"step": 1}\n'


def test_a_last_line_that_only_lacks_its_end_is_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.metrics.write_text('{"step": 1}')
    assert read_lines(folder.metrics) == [{"step": 1}]
    folder.append_metrics({"step": 2})
    assert [row["step"] for row in read_lines(folder.metrics)] == [1, 2]


def test_a_line_that_is_no_object_is_passed_over_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1}\n\x00\x00\x00\n[]\n{"step": NaN}\n{"no": 1}\n{"step": 4}\n')
    rows = read_lines(file)
    assert [row.get("step") for row in rows][::3] == [1, 4]
    assert f"{file}:2 is not a JSON object" in caplog.text
    assert f"{file}:3 is not a JSON object" in caplog.text
    RunFolder(tmp_path).truncate_metrics(3)
    assert file.read_text() == '{"step": 1}\n'


def test_a_full_disk_is_said_with_its_file_and_leaves_what_was_there(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_summary("rl", {"marks": 1})

    def lines() -> Iterator[str]:
        yield "half"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=rf"no space left on /.* at {folder.summary}: .* free"):
        replace(folder.summary, lines())
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    assert folder.summary.read_text() == '{\n "rl": {\n  "marks": 1\n }\n}\n'


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_summary_is_set_aside_and_said_and_the_marks_are_written(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path)
    folder.summary.write_text(text)
    folder.write_summary("rl", {"marks": 1})
    assert folder.read_summary() == {"rl": {"marks": 1}}
    assert f"{folder.summary} is damaged" in caplog.text

from pathlib import Path as FilePath

from actors.run_folder import RunFolder


def test_a_new_run_in_an_old_folder_sets_aside_what_was_there_and_loses_nothing(tmp_path: FilePath) -> None:
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

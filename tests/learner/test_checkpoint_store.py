import errno
import json
import threading
from pathlib import Path

import pytest

from learner.checkpoint_store import (
    CheckpointStore,
    NoSpaceError,
    alternative,
    list_checkpoints,
    newest_whole,
    read_loop_state,
    verify,
)
from vlm import files
from vlm.policy import CheckpointError


def write_weights(folder: Path) -> None:
    (folder / "deepspeed").mkdir(exist_ok=True)
    (folder / "deepspeed" / "weights.pt").write_bytes(b"0123456789" * 100)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Checkpoints of steps 3, 6 and 9, of which 3 has gone."""
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    for step in (3, 6, 9):
        store.save(step, {"step": step, "cursor": [1, 2]}, write_weights)
    return tmp_path / "checkpoints"


def newest(root: Path) -> Path:
    found, _ = newest_whole(root)
    assert found is not None
    return found


def test_the_newest_stay_and_the_last_is_found(root: Path) -> None:
    assert [path.name for path in list_checkpoints(root)] == ["step-000006", "step-000009"]
    assert newest(root).name == "step-000009"
    assert read_loop_state(newest(root)) == {"step": 9, "cursor": [1, 2]}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:10]), "weights.pt has 10 bytes, but 1000 were written"),
        (lambda file: file.unlink(), "weights.pt is missing"),
        (lambda file: file.write_bytes(b"x" * 1000), "weights.pt was altered"),
        (lambda file: (file.parents[1] / "manifest.json").write_text("{"), "manifest.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_offered(
    root: Path, damage: object, message: str
) -> None:
    damage(root / "step-000009" / "deepspeed" / "weights.pt")  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=message) as error:
        verify(root / "step-000009")
    assert "step-000009" in str(error.value)
    assert alternative(root / "step-000009").endswith(f"--resume-from {root / 'step-000006'}")
    verify(root / "step-000006")


def test_when_all_are_damaged_nothing_is_offered(root: Path) -> None:
    for step in (6, 9):
        (root / f"step-00000{step}" / "deepspeed" / "weights.pt").unlink()
    assert alternative(root / "step-000009") == "There is no good one before it"


def test_a_write_that_dies_leaves_the_last_one_in_place(root: Path) -> None:
    def die(folder: Path) -> None:
        write_weights(folder)
        raise OSError("disk full")

    store = CheckpointStore(root, keep=2)
    with pytest.raises(OSError, match="disk full"):
        store.save(12, {}, die)
    assert newest(root).name == "step-000009"
    store.save(12, {}, write_weights)
    assert newest(root).name == "step-000012"
    assert not list(root.glob(".tmp-*"))


def test_the_same_step_again_replaces_it(root: Path) -> None:
    CheckpointStore(root, keep=2).save(9, {"step": 9, "again": True}, write_weights)
    assert read_loop_state(newest(root))["again"] is True
    assert not list(root.glob(".tmp-*"))


def test_ranks_write_their_own_files_into_one_checkpoint(tmp_path: Path) -> None:
    barrier = threading.Barrier(3, timeout=10)

    def run(rank: int) -> None:
        def wait() -> None:
            barrier.wait()

        def write(folder: Path) -> None:
            (folder / f"rank-{rank}.pt").write_text(str(rank))

        CheckpointStore(tmp_path, keep=1, rank=rank, barrier=wait).save(5, {"step": 5}, write)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    manifest = json.loads((newest(tmp_path) / "manifest.json").read_text())
    assert sorted(manifest) == ["rank-0.pt", "rank-1.pt", "rank-2.pt", "trainer_state.json"]


@pytest.mark.parametrize("manifest", ["[]", "{}", '{"a": 3}', '{"a": {"num_bytes": 1}}', "", '"text"', "null"])
def test_a_manifest_that_lists_no_checkpoint_is_named(root: Path, manifest: str) -> None:
    (root / "step-000009" / "manifest.json").write_text(manifest)
    with pytest.raises(CheckpointError, match=r"step-000009: the file manifest\.json cannot be read"):
        verify(root / "step-000009")


@pytest.mark.parametrize("state", ["", "[]", '{"step": 1', "null"])
def test_a_damaged_state_is_named(root: Path, state: str) -> None:
    (root / "step-000009" / "trainer_state.json").write_text(state)
    with pytest.raises(CheckpointError, match=r"step-000009: the file trainer_state\.json"):
        read_loop_state(root / "step-000009")


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(root: Path) -> None:
    (root / "step-000009" / "manifest.json").write_text("[]")
    found, faults = newest_whole(root)
    assert found == root / "step-000006"
    assert ["step-000009" in fault for fault in faults] == [True]
    (root / "step-000006" / "trainer_state.json").unlink()
    with pytest.raises(CheckpointError, match=r"step-000009.*step-000006.*no whole checkpoint"):
        newest_whole(root)
    assert newest_whole(root / "nowhere") == (None, [])


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EDQUOT, "Disk quota exceeded")]
)
def test_a_full_disk_is_said_and_the_checkpoint_before_stays_whole(root: Path, error: OSError) -> None:
    def fill(folder: Path) -> None:
        write_weights(folder)
        raise error

    with pytest.raises(NoSpaceError) as said:
        CheckpointStore(root, keep=2).save(12, {}, fill)
    assert "no space left on /" in str(said.value)
    assert f"at {root}: about 0 MB needed" in str(said.value)
    assert str(said.value).endswith(f"the checkpoint before it, {root / 'step-000009'}, is whole")
    assert [path.name for path in root.iterdir()] == ["step-000006", "step-000009"] or not list(root.glob(".tmp-*"))
    verify(root / "step-000009")


def test_a_full_disk_is_known_by_what_is_free_though_a_library_says_it_otherwise(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda path: 4096)

    def fill(folder: Path) -> None:
        raise RuntimeError("unexpected pos 22400 vs 22294")

    with pytest.raises(NoSpaceError, match="no space left on"):
        CheckpointStore(root, keep=2).save(12, {}, fill)


def test_a_checkpoint_that_a_person_moved_and_linked_to_is_theirs(root: Path, tmp_path: Path) -> None:
    moved = tmp_path / "archive"
    (root / "step-000006").rename(moved)
    (root / "step-000006").symlink_to(moved)
    store = CheckpointStore(root, keep=1)
    store.save(6, {"step": 6}, write_weights)
    assert not (root / "step-000006").is_symlink()
    assert read_loop_state(moved)["cursor"] == [1, 2]
    (root / "step-000003").symlink_to(moved)
    store.save(12, {}, write_weights)
    assert [path.name for path in list_checkpoints(root)] == ["step-000012"]
    verify(moved)

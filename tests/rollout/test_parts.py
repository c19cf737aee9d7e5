"""The parts of the rollout side that need no engine."""

import asyncio
import json
import os
import pickle
import struct
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from rollout.completeness import ExpectedWeights
from rollout.config import (
    EngineConfig,
    GlooTransferConfig,
    IpcTransferConfig,
    NcclTransferConfig,
    RolloutConfig,
    SamplingConfig,
    TransferConfig,
)
from rollout.deadlines import EngineDeadlines
from rollout.errors import IncompleteUpdateError, RolloutTimeout, WorkersFailedError
from rollout.processes import ChildProcesses, thread_binding
from rollout.prompts import image_names
from rollout.transfer.channel import trainer_init_info
from rollout.transfer.client import FanOutClient, WeightUpdate

from .conftest import TinyWorld
from .transfer.receivers import ThreadReceiver


def test_the_config_needs_neither_vllm_nor_torch() -> None:
    code = "import sys, rollout.config, flow.trajectory, rollout.errors; print({'vllm', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_top_p_below_one_needs_consent() -> None:
    with pytest.raises(ValidationError, match="allow_truncated_sampling"):
        SamplingConfig(top_p=0.99)
    assert SamplingConfig(top_p=0.99, allow_truncated_sampling=True).top_p == 0.99


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"gpus_per_worker": 2}, "gpus_per_worker=2"),
        ({"engine": EngineConfig(max_model_len=256)}, "no room for a prompt"),
    ],
)
def test_parts_of_a_config_that_clash_are_named(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        RolloutConfig(**fields)  # type: ignore[arg-type]


def test_threads_are_bound_rank_by_rank() -> None:
    assert thread_binding(None, 2) == "nobind"
    assert thread_binding((3,), 1) == "3"
    assert thread_binding((4, 5, 6, 7), 2) == "4,5|6,7"
    with pytest.raises(ValueError, match="2 tensor-parallel ranks"):
        thread_binding((0,), 2)


@pytest.mark.parametrize(
    ("transfer", "told"),
    [(IpcTransferConfig(), "1"), (NcclTransferConfig(), None), (GlooTransferConfig(), None)],
)
def test_only_engines_that_are_handed_cuda_handles_may_pickle_messages(
    transfer: TransferConfig, told: str | None
) -> None:
    """Whatever the shell says. In a process of its own, as an engine's: the environment is the whole process's."""
    code = f"""import os
from rollout.config import EngineConfig
from rollout.processes import prepare_environment
config = EngineConfig.model_validate_json({EngineConfig(transfer=transfer).model_dump_json()!r})
prepare_environment(config, None, on_gpu=True)
print(os.environ.get("VLLM_ALLOW_INSECURE_SERIALIZATION"))"""
    shell = {**os.environ, "VLLM_ALLOW_INSECURE_SERIALIZATION": "0" if told else "1"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=shell)
    assert result.stdout.strip() == str(told), result.stderr


def test_a_buffer_that_is_too_small_for_the_largest_tensor_is_made_as_large(caplog: pytest.LogCaptureFixture) -> None:
    def buffer_bytes(bucket_mb: float) -> int:
        info = trainer_init_info(
            IpcTransferConfig(bucket_mb=bucket_mb),
            rank=0,
            world_size=2,
            master_address="127.0.0.1",
            timeout_s=1,
            largest_tensor_bytes=1_244_659_712,  # the embeddings of an 8B
        )
        return info.packed_buffer_size_bytes

    assert buffer_bytes(2048) == 2_048_000_000
    assert not caplog.records
    assert buffer_bytes(1024) == 1_244_659_712
    assert "bucket_mb=1024 is less than the largest tensor: the shared buffer has 1245 MB" in caplog.text


class RemoteError(TypeError):
    """As Ray's `RayTaskError(TypeError)`: it says who failed where, and carries why."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("ray::RolloutWorker.receive_weights() (pid=12, ip=10.0.0.1)\nTraceback (most recent …")
        self.cause = cause


def test_a_worker_that_fails_a_transfer_is_named_with_its_cause() -> None:
    class Refuses:
        name, num_ranks = "rollout-0", 1

        def receive_weights(self, info: dict[str, object]) -> None:
            raise RemoteError(TypeError("Object of type type\nis not serializable"))

    with pytest.raises(WorkersFailedError) as caught:
        FanOutClient([ThreadReceiver(Refuses())], timeout_s=1).update_weights({})
    assert caught.value.causes == {"rollout-0": "TypeError: Object of type type is not serializable"}


def test_all_steps_of_an_update_share_its_time() -> None:
    class Slow:
        name, num_ranks = "rollout-0", 1

        def start_update(self, unchanged: object, hashed: object) -> None:
            time.sleep(0.2)

        def receive_weights(self, info: object) -> None:
            time.sleep(0.2)

        def finish_update(self, version: int) -> None:
            time.sleep(0.2)

    client, started_s = FanOutClient([ThreadReceiver(Slow())], timeout_s=0.5), time.monotonic()
    with client.sending(WeightUpdate(version=1)):
        client.start_weight_update()
        client.update_weights({})
        rest = r"'finish_update'.*no answer within 0(\.0\d|\.1)? s, the rest of the update's 0\.5 s"
        with pytest.raises(WorkersFailedError, match=rest):
            client.finish_weight_update()
        assert time.monotonic() - started_s < 0.6
        client.start_weight_update()  # the next one has its own


def test_errors_survive_pickling() -> None:
    timeout = pickle.loads(pickle.dumps(RolloutTimeout("rollout-1", "pause", 2.5)))
    assert str(timeout) == "engine rollout-1: 'pause' did not finish within 2.5 s"
    failed = pickle.loads(pickle.dumps(WorkersFailedError("receive_weights", {"rollout-1": "gone"})))
    assert failed.causes == {"rollout-1": "gone"}


def write_model(folder: Path, shapes: dict[str, list[int]], is_tied: bool) -> Path:
    header = json.dumps(
        {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    )
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())
    (folder / "config.json").write_text(json.dumps({"text_config": {"tie_word_embeddings": is_tied}}))
    return folder


def test_an_update_must_bring_all_weights_and_a_tied_head_too(tmp_path: Path) -> None:
    shapes = {"model.embed_tokens.weight": [10, 4], "model.layers.0.weight": [4, 4]}
    expected = ExpectedWeights.of_model(write_model(tmp_path, shapes, is_tied=True))
    expected.check([*shapes, "lm_head.weight"], [*shapes.values(), [10, 4]], {})
    # A learner may call a tensor otherwise.
    expected.check(["embed_tokens.weight", "layers.0.weight", "lm_head.weight"], [[10, 4], [4, 4], [10, 4]], {})
    with pytest.raises(IncompleteUpdateError, match=r"'lm_head\.weight'"):
        expected.check([*shapes], [*shapes.values()], {})
    with pytest.raises(IncompleteUpdateError, match=r"brings 80 weights.*has 96"):
        expected.check(["model.embed_tokens.weight", "lm_head.weight"], [[10, 4], [10, 4]], {})


def test_an_update_may_leave_out_what_its_sender_names(tmp_path: Path) -> None:
    shapes = {"embed_tokens.weight": [10, 4], "layers.0.weight": [4, 4]}
    expected = ExpectedWeights.of_model(write_model(tmp_path, shapes, is_tied=True))
    expected.check(["layers.0.weight"], [[4, 4]], {"embed_tokens.weight": 40, "lm_head.weight": 40})
    with pytest.raises(
        IncompleteUpdateError, match=r"brings 16 weights in 1 tensors and leaves 40 unchanged, .* has 96"
    ):
        expected.check(["layers.0.weight"], [[4, 4]], {"embed_tokens.weight": 40})
    with pytest.raises(IncompleteUpdateError, match="leaves 80 unchanged"):
        expected.check([], [], {"embed_tokens.weight": 40, "lm_head.weight": 40})


def test_a_model_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="safetensors"):
        ExpectedWeights.of_model(tmp_path)


def test_an_image_with_other_regions_is_another_image(world: TinyWorld) -> None:
    first, second = world.samples[:2]
    moved = first.regions[0].replace(box_xyxy_px=(1.0, 2.0, 40.0, 51.0))
    variants = [first, second, first.replace(regions=()), first.replace(regions=(moved, first.regions[1]))]
    assert len({image_names(sample, are_drawn=True)[0] for sample in variants}) == len(variants)
    assert image_names(first, are_drawn=True) == image_names(
        first.replace(question="Another?", sample_id="another"), are_drawn=True
    )
    assert image_names(first, are_drawn=True) != image_names(first, are_drawn=False)


def test_a_deadline_names_engine_operation_and_seconds() -> None:
    deadlines = EngineDeadlines("rollout-9", EngineConfig(control_timeout_s=0.01))
    with pytest.raises(RolloutTimeout, match=r"engine rollout-9: 'pause' did not finish within 0\.01 s"):
        asyncio.run(deadlines.control("pause", asyncio.sleep(1)))


def test_a_child_does_not_outlive_a_killed_parent() -> None:
    child = "import time, rollout.processes as p; p.die_with_parent(); print(flush=True); time.sleep(60)"
    parent = f"""import subprocess, sys, time
process = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
time.sleep(60)"""
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    orphan = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_children_that_do_not_end_by_themselves_are_killed() -> None:
    children = ChildProcesses()
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with children.watch():
        process = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
    assert children.pids == [process.pid]
    children.end(timeout_s=0.1)
    assert children.pids == []
    assert process.wait(timeout=1) is not None

"""One engine of 2 B parameters beside the weights of its learner: tokens/s, and whole pushes while it generates."""

import os
import time
from functools import cached_property
from threading import Timer
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.gpu.figures import FigureFile
from benchmarks.gpu.machine import Bench, import_all
from rollout.config import EngineConfig, GlooTransferConfig, IpcTransferConfig, NcclTransferConfig
from rollout.processes import prepare_environment

if TYPE_CHECKING:
    from learner.sender import WeightSender
    from vlm.policy import Policy

NUM_PUSHES = 4
ENGINE_S = 30.0
"""For the rounds of tokens/s; one that has begun is finished."""


class Served:
    """An engine in a child process of vLLM's, and the policy in this one, on the same card."""

    transfer: str
    is_eager: bool

    def __init__(self, bench: Bench, figures: FigureFile) -> None:
        self._bench = bench
        self._figures = figures
        self._engine: Any = None
        self._sender: WeightSender | None = None

    def warm(self) -> None:
        prepare_environment(EngineConfig(), (0,), self._bench.on_gpu)  # vLLM reads it when it is imported
        import_all(
            "vllm.v1.engine.async_llm", "learner.sender", "benchmarks.gpu.engine_thread", "benchmarks.gpu.models"
        )

    @property
    def _title(self) -> str:
        return "eager" if self.is_eager else "graphs"

    def load(self) -> None:
        """Make the model, and start the engine."""
        import torch

        from benchmarks.gpu import models
        from spatial.images import ImageStore

        bench = self._bench
        self._device = "cuda" if bench.on_gpu else "cpu"
        self._dtype = torch.bfloat16 if bench.on_gpu else torch.float32
        self._shape = models.QWEN3_VL_TOY if bench.toy else models.QWEN3_VL_2B
        self._images = ImageStore(bench.work / "images")
        started_s = time.perf_counter()
        self._folder = models.build_model(bench.work / self._shape.name, self._shape, self._dtype, "cpu")
        built_s = time.perf_counter()
        transfers = {"ipc": IpcTransferConfig, "nccl": NcclTransferConfig}
        self._config = EngineConfig(
            dtype="bfloat16" if bench.on_gpu else "float32",
            max_model_len=512 if bench.toy else 3072,
            max_num_seqs=16 if bench.toy else 256,
            kv_cache_gib=0.25,
            gpu_memory_utilization=0.5,
            enforce_eager=self.is_eager or not bench.on_gpu,
            transfer=transfers[self.transfer]() if bench.on_gpu else GlooTransferConfig(),
            transfer_timeout_s=60.0,
        )
        self._start_engine()
        note = f"the model in {built_s - started_s:.1f} s more"
        self._figures.add("engine", f"{self._title}: start", time.perf_counter() - built_s, "s", note=note)

    def _start_engine(self) -> None:
        from benchmarks.gpu.engine_thread import EngineThread

        # NCCL refuses two processes of one card, unless it takes them for two machines.
        os.environ["NCCL_HOSTID"] = "engine"
        self._engine = EngineThread.of_model(self._folder, self._images, self._config, self._bench.on_gpu)
        self._engine.start()
        os.environ["NCCL_HOSTID"] = "learner"

    def parity(self) -> None:
        """The engine as it was loaded, or as the last push left it, against the policy of the same weights."""
        from benchmarks.gpu.asked import PROMPT
        from benchmarks.gpu.parity import report
        from vlm.prompt import PromptEncoder

        number = (2, 2, 8) if self._bench.toy else (16, 4, 96)
        sides = (self._engine, PromptEncoder(self._folder, self._images, PROMPT), self._policy, self._images)
        title = f"{self._shape.name} {self._config.dtype}, {self._title}"
        report(self._figures, title, self._config.dtype, self._shape.image_px, number, sides)

    def engine(self) -> None:
        """Ours, raw vLLM, and ours without regions, in turns."""
        from benchmarks.gpu.asked import make_requests, make_samples
        from benchmarks.rollout import Arms

        num_groups, max_tokens = (2, 8) if self._bench.toy else (32, 256)
        arms = Arms(self._engine.engine)
        best: dict[str, float] = {}
        ends_s, index = time.monotonic() + ENGINE_S, 0
        while index < 2 or (time.monotonic() < ends_s and not self._bench.toy):
            samples = make_samples(self._images, num_groups, self._shape.image_px, 2, seed=1000 + index)
            requests = make_requests(samples, max_tokens)
            arms.prepare_raw(requests)
            order = [("ours", arms.ours), ("raw", arms.raw), ("plain", arms.plain)]
            for name, arm in order if index % 2 else order[::-1]:
                self._engine.run(arms.forget())
                started_s = time.perf_counter()
                num_tokens = self._engine.run(arm(requests))
                if index:  # the first round does not count
                    best[name] = max(best.get(name, 0.0), num_tokens / (time.perf_counter() - started_s))
            index += 1
        note = f"best of {index - 1} rounds of {num_groups} groups of 8, at most {max_tokens} tokens each"
        self._add("engine", f"{self._title}: tokens against raw", best["ours"], "tokens/s", best["raw"], note)
        self._add("engine", f"{self._title}: regions against none", best["ours"], "tokens/s", best["plain"], note)

    def push(self) -> None:
        """Pushes while responses are under way; the first brings and checks every tensor."""
        import torch

        started_s = time.perf_counter()
        self._sender = self._open_sender()
        self._add("push", f"{self._config.transfer.type}: group", time.perf_counter() - started_s, "s")
        found = [self._one_push(self._sender, version) for version in range(1, NUM_PUSHES + 1)]
        pack_s, push_s, pause_s, num_bytes = min(found[1:], key=lambda one: one[1])
        copy = _copy_bytes_per_s(torch.device(self._device), num_bytes)
        gigabytes = num_bytes / 1e9
        note = f"{gigabytes:.2f} GB; the reference copies them on the device"
        self._add("push", f"{self._config.transfer.type}: speed", gigabytes / push_s, "GB/s", copy / 1e9, note)
        self._add("push", f"{self._config.transfer.type}: pause", pause_s, "s", note=f"push alone {push_s:.3f} s")
        self._add("push", f"{self._config.transfer.type}: packing before the pause", pack_s, "s")
        self._add(
            "push",
            f"{self._config.transfer.type}: first push",
            found[0][1],
            "s",
            note="every tensor hashed on both sides",
        )

    @cached_property
    def _policy(self) -> "Policy":
        from vlm.policy import load_policy

        return load_policy(self._folder, self._dtype).to(self._device)

    def _open_sender(self) -> "WeightSender":
        """Form a group with the engine."""
        from learner.sender import WeightSender
        from learner.weights import DeepSpeedWeightSource
        from rollout.transfer.channel import open_channel

        weights = DeepSpeedWeightSource(self._policy.vlm, self._dtype)
        channel = open_channel(
            [self._engine],
            weights,
            self._config.transfer,
            rank=0,
            device=self._device,
            address="127.0.0.1",
            timeout_s=self._config.transfer_timeout_s,
        )
        return WeightSender(channel, weights, self._config.verify_every)

    def _one_push(self, sender: "WeightSender", version: int) -> tuple[float, float, float, int]:
        """Seconds of packing, of the push, of the pause; bytes."""
        from benchmarks.gpu.asked import make_requests, make_samples

        engine = self._engine.engine
        samples = make_samples(self._images, 2 if self._bench.toy else 8, self._shape.image_px, 2, seed=version)
        requests = make_requests(samples, 32 if self._bench.toy else 200)
        under_way = [self._engine.submit(engine.generate(request)) for request in requests]
        started_s = time.perf_counter()
        sender.pack(version)
        packed_s = time.perf_counter()
        time.sleep(0.0 if self._bench.toy else 0.7)
        paused_s = time.perf_counter()
        self._engine.run(engine.update.pause())
        pushed_s = time.perf_counter()
        receipt = sender.push(version)
        ended_s = time.perf_counter()
        self._engine.run(engine.update.resume())
        resumed_s = time.perf_counter()
        for received in self._engine.run(engine.update.received_checksums()):
            if received != receipt.checksums:
                raise RuntimeError(f"push {version}: the engine has other weights than were sent")
        responses = [future.result(120) for future in under_way]
        if version == NUM_PUSHES:
            across = sum(len(response.version_spans) > 1 for response in responses)
            self._add(
                "push", f"{self._config.transfer.type}: responses under way during a push", across, "", len(responses)
            )
        return packed_s - started_s, ended_s - pushed_s, resumed_s - paused_s, receipt.num_bytes

    def _add(
        self, part: str, name: str, value: float, unit: str, reference: float | None = None, note: str = ""
    ) -> None:
        self._figures.add(part, name, value, unit, reference=reference, note=note)

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()
        if self._engine is not None:
            self._engine.close()


class GraphsOverIpc(Served):
    transfer = "ipc"
    is_eager = False


class EagerOverNccl(Served):
    transfer = "nccl"
    is_eager = True

    def faults(self) -> None:
        """The engine's processes are killed while they receive."""
        from rollout.errors import TransferError

        if self._sender is not None:
            self._sender.close()
        sender = self._open_sender()
        engine = self._engine.engine
        killed_s: list[float] = []

        def kill() -> None:
            killed_s.append(time.perf_counter())
            for pid in engine.child_pids:
                psutil.Process(pid).kill()

        # When something has arrived, and not all of it.
        self._engine.on_receive = Timer(0.2 if self._bench.on_gpu else 0.0, kill).start
        sender.pack(NUM_PUSHES + 1)
        self._engine.run(engine.update.pause())
        try:
            sender.push(NUM_PUSHES + 1)
        except TransferError as error:
            note = str(error)[:200]
        else:
            raise RuntimeError("the push had ended before its engine was killed")
        self._add(
            "faults", f"{self._config.transfer.type}: until the push has failed", _since(killed_s[0]), "s", note=note
        )
        self._engine.close()
        started_s = time.perf_counter()
        self._start_engine()
        self._add(
            "faults", f"{self._config.transfer.type}: start of another engine", time.perf_counter() - started_s, "s"
        )
        self._sender = self._open_sender()
        self._one_push(self._sender, NUM_PUSHES + 2)
        self._add(
            "faults", f"{self._config.transfer.type}: until it has the weights and generates", _since(killed_s[0]), "s"
        )


def _since(then_s: float) -> float:
    return time.perf_counter() - then_s


def _copy_bytes_per_s(device: Any, num_bytes: int) -> float:
    """Bytes copied a second on the device."""
    import torch

    source = torch.empty(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best_s = float("inf")
    for _ in range(4):
        started_s = time.perf_counter()
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best_s = min(best_s, time.perf_counter() - started_s)
    return num_bytes / best_s

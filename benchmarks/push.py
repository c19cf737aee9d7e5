"""Seconds of a weight push over gloo against a raw broadcast of the same bytes over gloo, in the same run.

    python -m benchmarks.push [--sizes 10 100 500] [--receivers 1 2 4] [--rounds 5]

The sender is this process with the learner's own source; each receiver is a process with the engine's own receiving end
around a plain torch model in place of vLLM's, so vLLM's layer-by-layer reload is part of it, and the repacking for its
kernels is not. "push" is what engines are paused for: start, transfer, loading, checksums of one tensor in ten (the
default), finish. "pack" comes before the pause. "raw" is one broadcast of one buffer into another that is there
already. The arms take turns in going first.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import nn

# Heads of the table, and widths of a layer of 12 × width² weights.
WIDTHS = {10: 256, 100: 512, 500: 1024}
MEGABYTE = 10**6
TIMEOUT_S = 300.0


def matrix(inputs: int, outputs: int) -> nn.Linear:
    """Without torch's initial values, which take longer than a push."""
    linear = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=False)
    nn.init.constant_(linear.weight, 1.0)
    return linear


class Layer(nn.Module):
    """The weights of one layer of a transformer, without its mathematics."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.ModuleList(matrix(width, width) for _ in range(4))
        self.up, self.down = matrix(width, 4 * width), matrix(4 * width, width)


class PlainModel(nn.Module):
    """As many layers as make about `size_mb`, loaded as vLLM's models are."""

    def __init__(self, size_mb: int) -> None:
        super().__init__()
        width = WIDTHS.get(size_mb, 512)
        num_layers = max(1, round(size_mb * MEGABYTE / (12 * width**2 * 4)))
        self.layers = nn.ModuleList(Layer(width) for _ in range(num_layers))

    def load_weights(self, weights: Any) -> set[str]:
        from vllm.model_executor.model_loader.weight_utils import default_weight_loader

        parameters, loaded = dict(self.named_parameters()), set()
        for name, tensor in weights:
            parameter = parameters[name]
            getattr(parameter, "weight_loader", default_weight_loader)(parameter, tensor)
            loaded.add(name)
        return loaded


class Receiver:
    """What an engine does in a push, in a process of its own; called by name."""

    def load(self, size_mb: int) -> int:
        """Make a model; returns its bytes."""
        from vllm.model_executor.model_loader.reload import record_metadata_for_reloading

        from rollout.transfer.checksums import ReceivedChecksums
        from rollout.transfer.gloo_receiver import GlooWeightTransferEngine

        model = PlainModel(size_mb)
        record_metadata_for_reloading(model)
        vllm_config = SimpleNamespace(
            parallel_config=SimpleNamespace(data_parallel_index=0, world_size=1, rank=0),
            model_config=SimpleNamespace(dtype=torch.float32),
        )
        self.checksums = ReceivedChecksums(model)
        self.engine = GlooWeightTransferEngine(None, vllm_config, torch.device("cpu"), model)
        num_bytes = sum(parameter.numel() * 4 for parameter in model.parameters())
        self.buffer = torch.zeros(num_bytes, dtype=torch.uint8)
        return num_bytes

    def join_transfer(self, info: dict[str, Any]) -> None:
        self.engine.init_transfer_engine(self.engine.parse_init_info(info))

    def start_update(self, unchanged: Mapping[str, int], hashed: Sequence[str]) -> None:
        self.checksums.expect(hashed)
        self.engine.start_weight_update()

    def receive_weights(self, info: dict[str, Any]) -> None:
        self.engine.update_weights(info)

    def finish_update(self, version: int) -> None:
        self.engine.finish_weight_update()

    def received_checksums(self) -> dict[str, str]:
        return self.checksums.found

    def join_raw(self, port: int, rank: int, world_size: int) -> None:
        from rollout.transfer.gloo_group import GlooGroup

        store = dist.TCPStore("127.0.0.1", port, is_master=False)
        self.raw = GlooGroup(store, "127.0.0.1", rank, world_size, TIMEOUT_S)

    def receive_raw(self) -> None:
        self.raw.broadcast(self.buffer)

    def leave_transfer(self) -> None:
        self.engine.shutdown()
        self.raw.close()


def receiver_main(calls: Connection, core: int) -> None:
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    receiver = Receiver()
    while True:
        try:
            method, args = calls.recv()
        except EOFError:
            return
        calls.send(getattr(receiver, method)(*args))


class ProcessPort:
    """A receiver's process as the transfer client sees it: one call at a time."""

    num_ranks = 1

    def __init__(self, number: int) -> None:
        self.name = f"receiver-{number}"
        cores = sorted(os.sched_getaffinity(0))
        self._calls, theirs = multiprocessing.Pipe()
        # From the highest core down; the sender stays wherever the kernel puts it.
        self.process = multiprocessing.get_context("spawn").Process(
            target=receiver_main, args=(theirs, cores[-1 - number % len(cores)]), daemon=True
        )
        self.process.start()

    def join_transfer(self, init_info: dict[str, Any]) -> "Future[None]":
        return self.call("join_transfer", init_info)

    def leave_transfer(self) -> "Future[None]":
        return self.call("leave_transfer")

    def start_update(self, unchanged: Mapping[str, int], hashed: Sequence[str]) -> "Future[None]":
        return self.call("start_update", unchanged, hashed)

    def receive_weights(self, update_info: dict[str, Any]) -> "Future[None]":
        return self.call("receive_weights", update_info)

    def finish_update(self, version: int) -> "Future[None]":
        return self.call("finish_update", version)

    def call(self, method: str, *args: object) -> "Future[Any]":
        from rollout.transfer.gloo_group import in_background

        return in_background(self._ask, method, args)

    def _ask(self, method: str, args: tuple[object, ...]) -> Any:
        self._calls.send((method, args))
        return self._calls.recv()


class Round(NamedTuple):
    """Seconds."""

    pack_s: float
    push_s: float
    raw_s: float


class Arms:
    """The two ways to the same receivers."""

    def __init__(self, ports: Sequence[ProcessPort], size_mb: int) -> None:
        from learner.sender import WeightSender
        from learner.weights import DeepSpeedWeightSource
        from rollout.config import EngineConfig
        from rollout.transfer.channel import open_channel
        from rollout.transfer.gloo_group import GlooGroup, in_background

        self._ports = ports
        config = EngineConfig()
        (self.num_bytes,) = {port.call("load", size_mb).result() for port in ports}
        weights = DeepSpeedWeightSource(PlainModel(size_mb), torch.float32)
        channel = open_channel(
            ports, weights, config.transfer, rank=0, device="cpu", address="127.0.0.1", timeout_s=TIMEOUT_S
        )
        self._sender = WeightSender(channel, weights, config.verify_every)
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        group = in_background(GlooGroup, store, "127.0.0.1", 0, 1 + len(ports), TIMEOUT_S)
        joined = [port.call("join_raw", store.port, rank, 1 + len(ports)) for rank, port in enumerate(ports, 1)]
        for future in joined:
            future.result()
        self._raw = group.result()
        self._buffer = torch.zeros(self.num_bytes, dtype=torch.uint8)

    def round(self, number: int) -> Round:
        if number % 2:
            raw_s = self._raw_s()
            return Round(*self._push_s(number), raw_s)
        return Round(*self._push_s(number), self._raw_s())

    def _push_s(self, version: int) -> tuple[float, float]:
        """Seconds of packing, and of the push."""
        started_s = time.perf_counter()
        self._sender.pack(version)
        packed_s = time.perf_counter()
        receipt = self._sender.push(version)
        received = [future.result() for future in [port.call("received_checksums") for port in self._ports]]
        ended_s = time.perf_counter()
        assert all(checksums == receipt.checksums != {} for checksums in received)
        return packed_s - started_s, ended_s - packed_s

    def _raw_s(self) -> float:
        started_s = time.perf_counter()
        receiving = [port.call("receive_raw") for port in self._ports]
        self._raw.broadcast(self._buffer)
        for future in receiving:
            future.result()
        return time.perf_counter() - started_s

    def close(self) -> None:
        for future in [port.call("leave_transfer") for port in self._ports]:
            future.result()
        self._sender.close()
        self._raw.close()


def measure(sizes_mb: Sequence[int], numbers: Sequence[int], num_rounds: int) -> list[dict[str, float]]:
    """One row for each size and number of receivers; the first round of each does not count."""
    from rollout.config import EngineConfig
    from rollout.processes import prepare_environment

    # Of receivers, as of vLLM's processes.
    prepare_environment(EngineConfig(), cpu_cores=None, on_gpu=False)
    torch.set_num_threads(1)
    ports = [ProcessPort(number) for number in range(max(numbers))]
    heads = ("MB", "receivers", "pack, s", "push, s", "raw, s", "push, MB/s", "raw, MB/s", "ratio")
    print("{:>6}{:>11}{:>9}{:>9}{:>9}{:>12}{:>11}{:>7}".format(*heads))
    rows = []
    for size_mb in sizes_mb:
        for number in numbers:
            arms = Arms(ports[:number], size_mb)
            rounds = [arms.round(index) for index in range(num_rounds + 1)][1:]
            arms.close()
            # The best round of each is the one that the machine's other work disturbed least.
            pack_s, push_s, raw_s = map(min, zip(*rounds, strict=True))
            megabytes = arms.num_bytes / MEGABYTE
            rows.append(
                {
                    "megabytes": round(megabytes, 1),
                    "receivers": number,
                    "pack_s": round(pack_s, 4),
                    "push_s": round(push_s, 4),
                    "raw_s": round(raw_s, 4),
                    "push_megabytes_per_s": round(megabytes / push_s, 1),
                    "raw_megabytes_per_s": round(megabytes / raw_s, 1),
                    "ratio": round(raw_s / push_s, 3),
                    "median_ratio": round(statistics.median(r.raw_s / r.push_s for r in rounds), 3),
                }
            )
            print("{:>6.0f}{:>11}{:>9.3f}{:>9.3f}{:>9.3f}{:>12.0f}{:>11.0f}{:>7.2f}".format(*rows[-1].values()))
    return rows


def report(rows: Sequence[dict[str, float]]) -> None:
    largest = [row for row in rows if row["megabytes"] == rows[-1]["megabytes"]]
    push_s = {row["receivers"]: row["push_s"] for row in largest}
    summary: dict[str, object] = {
        "ratio": min(row["ratio"] for row in largest),
        "cores": len(os.sched_getaffinity(0)),
        "rows": list(rows),
    }
    if {2, 4} <= push_s.keys():
        summary["four_receivers_over_two"] = round(push_s[4] / push_s[2], 3)
    print(json.dumps(summary))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 500], help="megabytes of weights")
    parser.add_argument("--receivers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    arguments = parser.parse_args()
    report(measure(arguments.sizes, arguments.receivers, arguments.rounds))

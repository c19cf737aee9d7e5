"""How far the engine's log-probabilities are from the learner's: for each family and number format, and each number of
regions.

Several engines on one card, each in a process of its own, because vLLM has settings that hold for a whole process.
The first family in bfloat16 is compared in full size, beside other measurements (`benchmarks.gpu.served`).
"""

import argparse
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.gpu.figures import FigureFile
from benchmarks.gpu.machine import Bench, import_all
from rollout.config import EngineConfig, GlooTransferConfig, IpcTransferConfig
from rollout.processes import prepare_environment
from vlm.families import FAMILIES

if TYPE_CHECKING:
    import torch

    from benchmarks.gpu.engine_thread import EngineThread
    from flow.trajectory import Trajectory
    from spatial.images import ImageStore
    from spatial.sample import SpatialSample
    from vlm.policy import Policy
    from vlm.prompt import PromptEncoder

NUM_REGIONS = (0, 1, 5)
FORMATS = ("float32", "bfloat16")
COMPARED = ((0, "float32"), (1, "float32"), (1, "bfloat16"))
TOYS = ((1, "float32"),)
# Nats, of the mean: what a first run on a card gave, with room. In float32 Triton multiplies in tf32.
BOUNDS = {"float32": 2e-3, "bfloat16": 3e-2}


class Families:
    """Starts the processes, and waits for them."""

    def __init__(self, bench: Bench, figures: FigureFile) -> None:
        self._bench = bench
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def warm(self) -> None:
        # They import, and wait for a line.
        for family, dtype in TOYS if self._bench.toy else COMPARED:
            command = [sys.executable, "-m", "benchmarks.gpu.parity", "--family", str(family), "--dtype", dtype]
            command += ["--bench", json.dumps(self._bench.as_dict())]
            child = subprocess.Popen(command, stdin=subprocess.PIPE)
            self._children[f"{FAMILIES[family].title} {dtype}"] = child

    def parity(self) -> None:
        for child in self._children.values():
            assert child.stdin is not None
            child.stdin.write(b"begin\n")
            child.stdin.close()
        failed = [name for name, child in self._children.items() if child.wait() != 0]
        if failed:
            raise RuntimeError(f"no comparison of {', '.join(failed)}")

    def close(self) -> None:
        for child in self._children.values():
            child.kill()


def compare(bench: Bench, figures: FigureFile, family: int, dtype: str) -> None:
    """One engine against one learner."""
    import torch

    from benchmarks.gpu import models
    from benchmarks.gpu.asked import PROMPT
    from benchmarks.gpu.engine_thread import EngineThread
    from spatial.images import ImageStore
    from vlm.policy import load_policy
    from vlm.prompt import PromptEncoder

    if sys.stdin.readline() == "":
        return
    toys, real = (models.QWEN3_VL_TOY, models.QWEN2_5_VL_TOY), (models.QWEN3_VL_SHALLOW, models.QWEN2_5_VL_SHALLOW)
    shape = (toys if bench.toy else real)[family]
    device = "cuda" if bench.on_gpu else "cpu"
    number = (4, 2, 8) if bench.toy else (16, 4, 96)
    images = ImageStore(bench.work / "images")
    config = EngineConfig(
        dtype=dtype,  # type: ignore[arg-type]
        max_model_len=1024,
        max_num_seqs=64,
        kv_cache_gib=0.5,
        gpu_memory_utilization=0.1,
        transfer=IpcTransferConfig() if bench.on_gpu else GlooTransferConfig(),
    )
    # One after the other: while an engine measures how much memory is free, no other may take any.
    with (bench.work / "loading").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        folder = models.build_model(bench.work / shape.name, shape, torch.float32, "cpu")
        engine = EngineThread.of_model(folder, images, config, bench.on_gpu)
        engine.start()
    try:
        encoder = PromptEncoder(folder, images, PROMPT)
        policy = load_policy(folder, getattr(torch, dtype)).to(device)
        report(
            figures, f"{shape.family.title} {dtype}", dtype, shape.image_px, number, (engine, encoder, policy, images)
        )
    finally:
        engine.close()


def report(
    figures: FigureFile,
    title: str,
    dtype: str,
    image_px: int,
    number: tuple[int, int, int],
    sides: "tuple[EngineThread, PromptEncoder, Policy, ImageStore]",
) -> None:
    """Compare, and write down what was found.

    Args:
        dtype: that both compute in.
        number: of samples, of responses to each, and of tokens of a response.
        sides: the engine; the learner's encoder and policy; where both find images.
    """
    from benchmarks.gpu.asked import make_samples

    engine, encoder, policy, images = sides
    for num_regions in NUM_REGIONS:
        samples = make_samples(images, number[0], image_px, num_regions, seed=num_regions)
        found = differences(engine, encoder, policy, samples, group_size=number[1], max_tokens=number[2])
        name = f"{title}, regions: {num_regions}"
        figures.add("parity", f"{name}: mean", float(found.mean()), "nats", reference=BOUNDS[dtype])
        share = float(found.float().quantile(0.999))
        figures.add("parity", f"{name}: 99.9th percentile", share, "nats", note=f"of {len(found)} tokens")


def differences(
    engine: "EngineThread",
    encoder: "PromptEncoder",
    policy: "Policy",
    samples: "Sequence[SpatialSample]",
    group_size: int,
    max_tokens: int,
) -> "torch.Tensor":
    """|engine − learner| in log-probability, of every response token of a group about each sample."""
    import torch

    from benchmarks.gpu.asked import make_requests

    trajectories = engine.generate(make_requests(samples, max_tokens, group_size))
    by_id = {sample.sample_id: sample for sample in samples}
    parts = []
    for first in range(0, len(trajectories), 16):
        some = trajectories[first : first + 16]
        mine = learner_logprobs(encoder, policy, [by_id[trajectory.sample_id] for trajectory in some], some)
        theirs = torch.tensor([logprob for trajectory in some for logprob in trajectory.rollout_logprobs])
        parts.append((theirs - mine).abs())
    return torch.cat(parts)


def learner_logprobs(
    encoder: "PromptEncoder", policy: "Policy", samples: "Sequence[SpatialSample]", given: "Sequence[Trajectory]"
) -> "torch.Tensor":
    """The learner's log-probabilities of some responses, one after the other."""
    import torch

    from vlm.policy import PolicyBatch, PolicyRow

    visions = encoder.vision_inputs_of([(s, t.path) for s, t in zip(samples, given, strict=True)])
    rows = [PolicyRow(t.prompt_token_ids, t.response_token_ids, v) for t, v in zip(given, visions, strict=True)]
    batch = PolicyBatch.collate(rows, encoder.pad_token_id, encoder.image_token_id)
    with torch.no_grad():
        logprobs, _ = policy(batch.to(policy.vlm.device))
    return logprobs.cpu()[batch.response_mask]


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", type=int, required=True)
    parser.add_argument("--dtype", choices=FORMATS, required=True)
    parser.add_argument("--bench", type=json.loads, required=True)
    arguments = parser.parse_args()
    bench = Bench.from_dict(arguments.bench)
    if bench.toy and not bench.on_gpu:
        os.environ["OMP_NUM_THREADS"] = "1"
    prepare_environment(EngineConfig(), (0,), bench.on_gpu)  # vLLM reads it when it is imported
    import_all("vllm.v1.engine.async_llm", "vlm.policy", "benchmarks.gpu.engine_thread", "benchmarks.gpu.models")
    compare(bench, FigureFile(bench.out, bench.card), arguments.family, arguments.dtype)


if __name__ == "__main__":
    _main()

"""One learner rank in a process of its own: `python -m tests.learner.rank_process ROOT RANK RANKS PORT STAGE OUT`.

Trains on the toy world in ROOT, saves and loads on the way, and writes to OUT what the test compares.
"""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

import vlm.policy
from learner.checkpoint_store import CheckpointStore, list_checkpoints
from learner.engine import LearnerEngine
from learner.weights import DeepSpeedWeightSource
from rollout.transfer.buckets import PackedSource
from spatial.images import ImageStore
from tests.learner.poison import poisoned
from tests.learner.toy import gradient_sized, make_config, make_encoder, make_samples, sft_rows, training_rows


class HeadCalls:
    """Counts the calls of the head, and those that each pass would need for its own tokens."""

    def __init__(self, policy: Any) -> None:
        self.made = self.needed = 0
        policy.register_forward_pre_hook(self._note_need)
        policy.vlm.lm_head.register_forward_pre_hook(self._note_call)

    def _note_need(self, _: Any, arguments: Sequence[Any]) -> None:
        self.needed += vlm.policy.head_calls(int(arguments[0].response_mask.sum()))

    def _note_call(self, *_: Any) -> None:
        self.made += 1


def main(root: Path, rank: int, num_ranks: int, port: int, zero_stage: int, out: Path) -> None:
    torch.set_num_threads(1)
    if num_ranks > 1:
        # As many calls of the head as response tokens: one of two ranks always has fewer tokens than the other needs.
        vlm.policy._LOGIT_ROWS = 1
    store = ImageStore(root / "images")
    encoder, samples = make_encoder(root / "tiny", store), make_samples(store, 10)
    # 7 rows in 4 mini-batches of 2, 2, 2 and 1: the last leaves the second of two ranks without a row.
    rows = training_rows(samples[:7], encoder)
    config = gradient_sized(make_config(zero_stage, num_ranks, optimizer_steps_per_batch=4))
    # Rows have 35 to 81 tokens: two long ones in a micro-batch, or up to four short ones.
    config = config.replace(deepspeed=config.deepspeed.replace(micro_batch_rows=None, micro_batch_tokens=170))

    def start() -> LearnerEngine:
        return LearnerEngine(
            root / "tiny",
            encoder,
            config,
            rank=rank,
            world_size=num_ranks,
            master_port=port,
            reference=root / "reference",
        )

    engine = start()
    first = {n: t.clone() for n, t in DeepSpeedWeightSource(engine.vlm, torch.float32)}
    # One rank's gradient, and then one rank's loss, are not finite: all skip the step.
    skipped = []
    for where in ("gradient", "loss"):
        with poisoned(engine.vlm, where) if rank == num_ranks - 1 else nullcontext():
            skipped.append(engine.sft_step(sft_rows(samples, encoder)))
    untouched = {n: t.clone() for n, t in DeepSpeedWeightSource(engine.vlm, torch.float32)}
    calls = HeadCalls(engine._engine.module)
    sft = engine.sft_step(sft_rows(samples, encoder))
    rl = engine.policy_update(rows, weight_version=1)
    head_calls = {"made": calls.made, "needed": calls.needed}
    checkpoints = CheckpointStore(out / "checkpoints", keep=2, rank=rank, barrier=engine.barrier)
    checkpoints.save(3, {"step": 3}, engine.save)
    engine.policy_update(rows)
    resumed = start()
    resumed.load(list_checkpoints(out / "checkpoints")[-1])
    resumed.policy_update(rows)
    # What is packed ahead, and a pass of the model before the rest is gathered: both collectives under ZeRO-3.
    source = DeepSpeedWeightSource(engine.vlm, torch.float32, bucket_bytes=50_000)
    packed = PackedSource(source, bucket_bytes=30_000, keeps=rank == 0, hashes=rank == 0)
    packed.pack(max_bytes=200_000)
    model_logprobs = engine.response_logprobs(rows, of_model=True)
    result = {
        "skipped": skipped,
        "warnings": engine.take_warnings(),
        "is_untouched": all(torch.equal(untouched[name], weight) for name, weight in first.items()),
        "model_logprobs": model_logprobs,
        "packed": {n: t.clone() for n, t in packed},
        "sft": sft,
        "rl": rl,
        "head_calls": head_calls,
        "logprobs": engine.response_logprobs(rows),
        "weights": {n: t.clone() for n, t in DeepSpeedWeightSource(engine.vlm, torch.float32, bucket_bytes=50_000)},
        "resumed": {n: t.clone() for n, t in DeepSpeedWeightSource(resumed.vlm, torch.float32)},
    }
    engine.export(out / "export")
    torch.save(result, out / f"rank-{rank}.pt")


if __name__ == "__main__":
    root, rank, num_ranks, port, zero_stage, out = sys.argv[1:]
    main(Path(root), int(rank), int(num_ranks), int(port), int(zero_stage), Path(out))

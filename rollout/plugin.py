"""Our additions to vLLM, registered in each of its processes (entry point `vllm.general_plugins`).

The learner, which sends weights without running an engine, calls `register` itself.
"""

import functools
import logging
import multiprocessing

from vllm import ModelRegistry
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory, WeightTransferTrainerFactory

from rollout.config import GlooTransferConfig, IpcTransferConfig, NcclTransferConfig
from rollout.processes import die_with_parent
from rollout.start_errors import record_errors
from vlm import model_folders  # noqa: F401 - makes the configurations of the models with region tokens known
from vlm.families import FAMILIES


@functools.cache
def register() -> None:
    """Register the project's own weight-transfer backends and the models with region tokens.

    vLLM's child processes also begin to watch their parent.
    """
    # By name: each process imports only the end that it uses.
    for config, receiver, sender, prefix in (
        (GlooTransferConfig, "rollout.transfer.gloo_receiver", "rollout.transfer.gloo_sender", "Gloo"),
        (NcclTransferConfig, "rollout.transfer.nccl", "rollout.transfer.nccl", "Nccl"),
    ):
        WeightTransferEngineFactory.register_engine(config.backend, receiver, f"{prefix}WeightTransferEngine")
        WeightTransferTrainerFactory.register_engine(config.backend, sender, f"{prefix}TrainerWeightTransferEngine")
    # The engines' end of CUDA IPC is vLLM's own.
    WeightTransferTrainerFactory.register_engine(
        IpcTransferConfig.sender_backend, "rollout.transfer.ipc", "IpcTrainerWeightTransferEngine"
    )
    for family in FAMILIES:
        # By name: vLLM inspects a model's class in another process, so that this one does not touch the accelerator.
        name = family.region_architecture
        ModelRegistry.register_model(name, f"rollout.families.{family.model_type}:{name}")
    # A layer that an update does not bring keeps its weights; `rollout.completeness` checks whether that is intended.
    layerwise = logging.getLogger("vllm.model_executor.model_loader.reload.layerwise")
    layerwise.addFilter(lambda record: "Failed to load weights" not in record.msg)
    record_errors()
    if multiprocessing.parent_process() is not None:
        die_with_parent()

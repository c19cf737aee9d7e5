"""How a learner rank starts: its device, DeepSpeed for that device, and the process group of all ranks."""

import logging
import os
import warnings
from datetime import timedelta
from types import ModuleType

import torch
import torch.distributed as dist

from learner.errors import PortTakenError


def require_device(on_gpu: bool) -> None:
    """
    Raises:
        RuntimeError: `on_gpu`, but PyTorch has no GPU.
    """
    if on_gpu and not torch.cuda.is_available():
        build = "is built for CPUs: `make setup LOCK=gpu`" if torch.version.cuda is None else "finds no usable one"
        raise RuntimeError(
            "the config has the learner on GPUs (cluster.layout, cluster.learner_rank_gpus), but PyTorch "
            f"{torch.__version__} {build}"
        )


def own_device(on_gpu: bool) -> torch.device:
    """Where this process computes, after it has joined; a GPU becomes its current one, which collectives use."""
    if not on_gpu:
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def import_deepspeed(on_gpu: bool) -> ModuleType:
    """DeepSpeed for a GPU or for CPUs: it reads DS_ACCELERATOR while it is imported."""
    # Always set: by default it would take any GPU there is, even another job's.
    os.environ["DS_ACCELERATOR"] = "cuda" if on_gpu else "cpu"
    import deepspeed
    import deepspeed.ops

    # DeepSpeed may compile no operators. It would try each with the C compiler, and then spend half a minute on one
    # that only its inference uses.
    deepspeed.ops.__compatible_ops__ = {}
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # Under ZeRO-3 DeepSpeed 0.19 calls, many times a step, collectives by names that torch 2.13 deprecates.
    warnings.filterwarnings("ignore", message="`torch.distributed", category=FutureWarning)
    return deepspeed


def join_process_group(
    rank: int, world_size: int, master_address: str, master_port: int, timeout_s: float, on_gpu: bool
) -> None:
    """Join the learner's ranks: nccl on GPUs, gloo elsewhere. Does nothing in a process that has already joined.

    Raises:
        ValueError: the process belongs to a group with another rank or size.
        PortTakenError: rank 0 finds `master_port` in use; the other ranks then wait in vain.
        torch.distributed.DistError: the other ranks did not join within `timeout_s`.
    """
    if dist.is_initialized():
        if (dist.get_rank(), dist.get_world_size()) != (rank, world_size):
            raise ValueError(
                f"this process is rank {dist.get_rank()} of {dist.get_world_size()} already, not {rank} of {world_size}"
            )
        return
    # The position of its own card among those that the process sees; usually it sees no other.
    os.environ.setdefault("LOCAL_RANK", "0")
    try:
        import_deepspeed(on_gpu).init_distributed(
            dist_backend="nccl" if on_gpu else "gloo",
            auto_mpi_discovery=False,
            verbose=False,
            timeout=timedelta(seconds=timeout_s),
            init_method=f"tcp://{master_address}:{master_port}",
            rank=rank,
            world_size=world_size,
        )
    except dist.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        raise PortTakenError(
            f"port {master_port} of {master_address} was taken by another process in the meantime"
        ) from None

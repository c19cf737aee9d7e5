"""The learner's end of a transfer group: opened once for a set of engines, then packed and sent through."""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from vllm.distributed.weight_transfer.base import TrainerWeightTransferEngine, WeightSource
from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory

from rollout import plugin
from rollout.config import GlooTransferConfig, IpcTransferConfig, NcclTransferConfig, TransferConfig
from rollout.transfer.buckets import PackedSource
from rollout.transfer.client import FanOutClient, WeightReceiver, WeightUpdate

_log = logging.getLogger(__name__)

_MEGABYTE = 10**6


class TransferChannel:
    """One learner rank's end of a transfer group; a `learner.sender.WeightChannel`."""

    def __init__(
        self, client: FanOutClient, packed: PackedSource, trainer: TrainerWeightTransferEngine, pack_bytes: int
    ) -> None:
        """Made by `open_channel`."""
        self._client = client
        self._packed = packed
        self._trainer = trainer
        self._pack_bytes = pack_bytes
        self._hashed: tuple[str, ...] = ()

    def pack(self, weights: WeightSource, hashed: Collection[str]) -> None:
        """Gather `weights` into buckets, as many as the config's `pack_gib` allows, and hash those named."""
        self._hashed = tuple(hashed)
        self._packed.pack(self._pack_bytes, self._hashed, weights)

    def send(self, version: int, unchanged: Mapping[str, int]) -> Mapping[str, str]:
        """Send what was packed and the rest as `version`; returns the checksums of the hashed tensors.

        Raises:
            TransferError: an engine or the connection failed; open a new channel before the next push.
        """
        with self._client.sending(WeightUpdate(version, unchanged, self._hashed)):
            self._trainer.send_weights()
        return self._packed.checksums

    def close(self) -> None:
        self._trainer.shutdown()


def open_channel(
    receivers: Sequence[WeightReceiver],
    weights: WeightSource,
    config: TransferConfig,
    *,
    rank: int,
    device: torch.device | str,
    address: str,
    timeout_s: float,
) -> TransferChannel:
    """Form a transfer group with the engines behind `receivers`. Call it on every learner rank.

    Args:
        weights: the first that will be sent, the largest tensor among them.
        config: the backend.
        rank: this learner rank; 0 sends.
        device: where the model lies; buckets are filled there if the backend sends from a GPU.
        address: an address of the sender's machine that the engines can reach; the sender takes a free port.
        timeout_s: for forming the group, and for one whole update.

    Raises:
        TransferError: an engine did not join within the deadline, or refused.
    """
    plugin.register()
    client = FanOutClient(receivers, timeout_s)
    packed = PackedSource(
        weights,
        bucket_bytes=int(config.bucket_mb * _MEGABYTE),
        device="cpu" if config.type == "gloo" else device,
        # With CUDA IPC each rank shares its own copy with the engine ranks on its card.
        keeps=rank == 0 or config.type == "ipc",
        hashes=rank == 0,
    )
    info = trainer_init_info(
        config,
        rank=rank,
        world_size=client.world_size,
        master_address=address,
        timeout_s=timeout_s,
        largest_tensor_bytes=max(meta.dtype.itemsize * math.prod(meta.shape) for meta in weights.metadata()),
    )
    trainer = WeightTransferTrainerFactory.trainer_init(info, client=client, source=packed)
    return TransferChannel(client, packed, trainer, pack_bytes=int(config.pack_gib * 2**30))


def trainer_init_info(
    config: GlooTransferConfig | NcclTransferConfig | IpcTransferConfig,
    *,
    rank: int,
    world_size: int,
    master_address: str,
    timeout_s: float,
    master_port: int = 0,
    largest_tensor_bytes: int = 0,
) -> Any:
    """The `TrainerInitInfo` that `WeightTransferTrainerFactory.trainer_init` wants for a backend.

    Args:
        rank: this learner rank; 0 sends.
        world_size: `FanOutClient.world_size`.
        master_address: an address of this machine that the engines can reach.
        timeout_s: for forming the group, and for one whole update. (CUDA IPC forms none; its engines have deadlines.)
        master_port: where the sender listens; 0 takes a free port.
        largest_tensor_bytes: size of the largest tensor that is sent.
    """
    bucket_bytes = int(config.bucket_mb * _MEGABYTE)
    # Only the backend that is used is imported.
    match config:
        case GlooTransferConfig():
            from rollout.transfer.gloo_sender import GlooTrainerInitInfo

            return GlooTrainerInitInfo(
                rank=rank,
                master_address=master_address,
                master_port=master_port,
                world_size=world_size,
                bucket_bytes=bucket_bytes,
                timeout_s=timeout_s,
            )
        case NcclTransferConfig():
            from rollout.transfer.nccl import NcclTrainerInitInfo

            return NcclTrainerInitInfo(
                rank=rank,
                master_address=master_address,
                master_port=master_port,
                world_size=world_size,
                packed=True,
                packed_buffer_size_bytes=bucket_bytes,
                packed_num_buffers=config.num_buffers,
                timeout_s=timeout_s,
            )
        case IpcTransferConfig():
            from rollout.transfer.ipc import IpcTrainerInitInfo

            if largest_tensor_bytes > bucket_bytes:
                # vLLM's buffer holds every tensor whole, and would refuse this one in the middle of the first push.
                _log.warning(
                    "rollout.engine.transfer.bucket_mb=%g is less than the largest tensor: "
                    "the shared buffer has %.0f MB",
                    config.bucket_mb,
                    largest_tensor_bytes / _MEGABYTE,
                )
                bucket_bytes = largest_tensor_bytes
            return IpcTrainerInitInfo(rank=rank, packed=True, packed_buffer_size_bytes=bucket_bytes)

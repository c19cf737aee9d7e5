"""What the sender of the gloo backend says to its receivers, besides the tensors."""

from dataclasses import dataclass

import torch
from vllm.distributed.weight_transfer.base import ParamMeta, WeightTransferInitInfo, WeightTransferUpdateInfo


@dataclass(kw_only=True)
class GlooInitInfo(WeightTransferInitInfo):
    """What an engine needs to join a group; its rank 0 becomes `rank_offset`."""

    master_address: str
    master_port: int
    rank_offset: int
    world_size: int
    bucket_bytes: int
    timeout_s: float


@dataclass(kw_only=True)
class GlooUpdateInfo(WeightTransferUpdateInfo):
    """The tensors of an update in the order in which they are sent, all at once."""

    names: list[str]
    dtype_names: list[str]
    shapes: list[list[int]]
    is_whole: bool
    """Whether every parameter of the model follows."""

    def metas(self) -> list[ParamMeta]:
        rows = zip(self.names, self.dtype_names, self.shapes, strict=True)
        return [ParamMeta(name, getattr(torch, dtype), tuple(shape)) for name, dtype, shape in rows]

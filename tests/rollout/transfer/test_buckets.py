"""The order in which buckets are filled and read, with a played GPU stream: no GPU is needed to see who waits when."""

from collections.abc import Iterator

import pytest
import torch
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

from rollout.transfer.buckets import CudaOrder, PackedSource

TENSORS = {name: torch.full((4,), float(index)) for index, name in enumerate("abcde")}


class PlayedStream:
    """Notes what happens to buckets, in order, and what is in the tensors then."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def filled(self) -> None:
        self.events.append("synchronised")

    def handed_out(self, tensor: torch.Tensor) -> None:
        self.events.append(f"handed out {tensor[0]:g}")


class TellingSource(WeightSource):
    def __init__(self, stream: PlayedStream) -> None:
        self._stream = stream

    def metadata(self) -> list[ParamMeta]:
        return [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in TENSORS.items()]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in TENSORS.items():
            self._stream.events.append(f"copied {name}")
            yield name, tensor


@pytest.mark.parametrize("hash_every", [0, 1, 10])
def test_a_bucket_is_synchronised_after_its_last_copy_and_before_it_is_handed_on(hash_every: int) -> None:
    stream = PlayedStream()
    source = PackedSource(TellingSource(stream), bucket_bytes=40, order=stream)
    source.pack(0, hashed=list(TENSORS)[::hash_every] if hash_every else ())
    assert [name for name, _ in source] == list(TENSORS)
    assert stream.events == [
        *("copied a", "copied b", "synchronised", "handed out 0", "handed out 1"),
        *("copied c", "copied d", "synchronised", "handed out 2", "handed out 3"),
        *("copied e", "synchronised", "handed out 4"),
    ]


def test_a_bucket_packed_ahead_is_synchronised_then_and_notes_its_reader_when_it_is_read() -> None:
    stream = PlayedStream()
    source = PackedSource(TellingSource(stream), bucket_bytes=40, order=stream)
    source.pack(max_bytes=64)
    assert stream.events == ["copied a", "copied b", "synchronised", "copied c", "copied d", "synchronised"]
    assert len(list(source)) == 5
    assert stream.events[6:10] == [f"handed out {index}" for index in range(4)]
    assert stream.events[10:] == ["copied e", "synchronised", "handed out 4"]


@pytest.mark.parametrize(
    ("device", "order"), [("cpu", type(None)), ("cuda", CudaOrder), (torch.device("cuda", 1), CudaOrder)]
)
def test_buckets_on_a_gpu_are_ordered_without_being_asked_to(device: torch.device | str, order: type) -> None:
    source = PackedSource(TellingSource(PlayedStream()), bucket_bytes=40, device=device)
    assert isinstance(source._order, order)

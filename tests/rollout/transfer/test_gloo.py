"""The gloo backend without an engine: layout, groups, failures. Receivers are threads with plain tensors."""

import time
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory, WeightTransferTrainerFactory
from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase
from vllm.model_executor.model_loader.reload import record_metadata_for_reloading
from vllm.model_executor.model_loader.weight_utils import default_weight_loader

from rollout.config import GlooTransferConfig
from rollout.errors import TransferError, WorkersFailedError
from rollout.plugin import register
from rollout.transfer.buckets import PackedSource, plan_buckets
from rollout.transfer.channel import trainer_init_info
from rollout.transfer.checksums import tensor_checksum
from rollout.transfer.client import FanOutClient, WeightUpdate
from rollout.transfer.gloo_group import GlooGroup, in_background
from rollout.transfer.gloo_messages import GlooInitInfo, GlooUpdateInfo
from rollout.transfer.gloo_receiver import GlooWeightTransferEngine
from rollout.transfer.gloo_sender import GlooTrainerWeightTransferEngine

from .receivers import ThreadReceiver

TENSORS = {
    "a": torch.arange(5, dtype=torch.float32),
    "b": torch.arange(12, dtype=torch.bfloat16).view(3, 4),
    "large": torch.arange(100, dtype=torch.float32).view(10, 10),
    "scalar": torch.tensor(7.0),
}


class DictSource(WeightSource):
    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.tensors = tensors
        self.num_yielded = 0

    def metadata(self) -> list[ParamMeta]:
        return [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self.tensors.items()]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for item in self.tensors.items():
            self.num_yielded += 1
            yield item


class Receiver:
    """What an engine does in a push, without an engine."""

    def __init__(self, name: str, num_ranks: int = 1, fault: str = "") -> None:
        self.name = name
        self.num_ranks = num_ranks
        self.fault = fault
        self.tensors: dict[str, torch.Tensor] = {}
        self.version: int | None = None
        self.ranks: list[int] = []
        self._groups: list[GlooGroup] = []

    def join_transfer(self, fields: dict[str, Any]) -> None:
        if self.fault == "refuses":
            raise PermissionError("not me")
        if self.fault == "absent":
            time.sleep(30)
        info = GlooInitInfo(**fields)
        self.ranks = [info.rank_offset + index for index in range(self.num_ranks)]
        joining = [in_background(self._join, info, rank) for rank in self.ranks]
        self._groups = [future.result() for future in joining]
        self.bucket_bytes = info.bucket_bytes

    @staticmethod
    def _join(info: GlooInitInfo, rank: int) -> GlooGroup:
        store = dist.TCPStore(info.master_address, info.master_port, is_master=False)
        return GlooGroup(store, info.master_address, rank, info.world_size, info.timeout_s)

    def start_update(self, unchanged: Mapping[str, int], hashed: Sequence[str]) -> None:
        self.tensors.clear()

    def receive_weights(self, fields: dict[str, Any]) -> None:
        if self.fault == "silent":
            time.sleep(30)
        if self.fault == "dies":
            for group in self._groups:
                group.close()
            raise ConnectionError("killed")
        receiving = [in_background(self._receive, group, GlooUpdateInfo(**fields)) for group in self._groups]
        for future in receiving:
            future.result()

    def _receive(self, group: GlooGroup, update: GlooUpdateInfo) -> None:
        for bucket in plan_buckets(update.metas(), self.bucket_bytes):
            buffer = torch.empty(bucket.num_bytes, dtype=torch.uint8)
            group.broadcast(buffer)
            self.tensors |= {slot.meta.name: slot.view(buffer) for slot in bucket.slots}

    def finish_update(self, version: int) -> None:
        self.version = version


class Group(NamedTuple):
    """A sender and the engines that it sends to."""

    client: FanOutClient
    trainer: GlooTrainerWeightTransferEngine

    def send_weights(self, version: int = 5) -> None:
        with self.client.sending(WeightUpdate(version)):
            self.trainer.send_weights()


def form(receivers: list[Receiver], source: WeightSource, timeout_s: float = 20, bucket_mb: float = 0.0001) -> Group:
    register()
    client = FanOutClient([ThreadReceiver(receiver) for receiver in receivers], timeout_s)
    info = trainer_init_info(
        GlooTransferConfig(bucket_mb=bucket_mb),
        rank=0,
        world_size=client.world_size,
        master_address="127.0.0.1",
        master_port=0,
        timeout_s=timeout_s,
    )
    return Group(client, WeightTransferTrainerFactory.trainer_init(info, client=client, source=source))


def test_buckets_keep_the_order_and_a_large_tensor_gets_its_own() -> None:
    buckets = plan_buckets(DictSource(TENSORS).metadata(), bucket_bytes=100)
    assert [[slot.meta.name for slot in bucket.slots] for bucket in buckets] == [["a", "b"], ["large"], ["scalar"]]
    assert [bucket.num_bytes for bucket in buckets] == [32 + 24, 400, 4]
    assert all(slot.offset % 16 == 0 for bucket in buckets for slot in bucket.slots)


@pytest.mark.parametrize(("max_bytes", "packed", "gathered"), [(0, 0, 0), (456, 456, 3), (10**6, 460, 4)])
def test_what_was_packed_is_sent_as_it_was_then_and_the_rest_as_it_is(
    max_bytes: int, packed: int, gathered: int
) -> None:
    inner = DictSource({name: tensor.clone() for name, tensor in TENSORS.items()})
    source = PackedSource(inner, bucket_bytes=100)
    receiver = Receiver("one")
    sender = form([receiver], source)
    assert source.pack(max_bytes, hashed=TENSORS) == packed
    assert inner.num_yielded == gathered
    for tensor in inner.tensors.values():
        tensor.add_(1)
    sender.send_weights()
    names = list(TENSORS)
    for index, name in enumerate(names):
        assert torch.equal(receiver.tensors[name], TENSORS[name] + (index >= gathered)), name
    # Checksums are of what was sent.
    assert source.checksums == {name: tensor_checksum(tensor) for name, tensor in receiver.tensors.items()}


def test_a_pass_that_was_packed_and_not_sent_is_given_up_and_another_backend_reads_the_same() -> None:
    source = PackedSource(DictSource(TENSORS), bucket_bytes=100)
    source.pack(10**6, hashed=["a"])
    for hashed in ("b", "large"):
        source.pack(60, hashed=[hashed])
        read = dict(source)
        assert list(read) == list(TENSORS)
        assert all(torch.equal(read[name], tensor) for name, tensor in TENSORS.items())
        assert source.checksums == {hashed: tensor_checksum(TENSORS[hashed])}
    assert list(dict(source)) == list(TENSORS)  # without being packed again
    assert source.checksums == {}


def test_a_pass_may_be_of_other_weights_than_the_one_before() -> None:
    source = PackedSource(DictSource(TENSORS), bucket_bytes=100)
    assert [name for name, _ in source] == list(TENSORS)
    source.pack(10**6, source=DictSource({"b": TENSORS["b"]}))
    assert [meta.name for meta in source.metadata()] == ["b"]
    assert [name for name, _ in source] == ["b"]


def test_a_rank_that_does_not_send_gathers_as_much_ahead_and_keeps_nothing() -> None:
    inner = DictSource(TENSORS)
    source = PackedSource(inner, bucket_bytes=100, keeps=False, hashes=False)
    source.pack(456, hashed=TENSORS)
    assert inner.num_yielded == 3
    assert [name for name, _ in source] == ["scalar"]
    assert source.checksums == {}


def test_a_rank_that_shares_its_own_copy_keeps_all_of_it_and_leaves_checksums_to_rank_0() -> None:
    source = PackedSource(DictSource(TENSORS), bucket_bytes=100, keeps=True, hashes=False)
    source.pack(456, hashed=TENSORS)
    assert {name: tensor.tolist() for name, tensor in source} == {name: each.tolist() for name, each in TENSORS.items()}
    assert source.checksums == {}


def test_every_rank_of_every_worker_gets_every_tensor() -> None:
    receivers = [Receiver("one"), Receiver("two", num_ranks=2), Receiver("three")]
    form(receivers, DictSource(TENSORS)).send_weights()
    assert [receiver.ranks for receiver in receivers] == [[1], [2, 3], [4]]
    for receiver in receivers:
        assert receiver.version == 5
        assert all(torch.equal(receiver.tensors[name], tensor) for name, tensor in TENSORS.items())


def test_a_new_group_with_other_members_follows_an_old_one() -> None:
    first, second = Receiver("first"), Receiver("second")
    old = form([first], DictSource(TENSORS))
    old.send_weights()
    old.trainer.shutdown()
    form([second, first], DictSource({"a": TENSORS["a"] + 1})).send_weights()
    assert torch.equal(first.tensors["a"], TENSORS["a"] + 1)
    assert torch.equal(second.tensors["a"], TENSORS["a"] + 1)
    with pytest.raises(TransferError, match="no transfer group"):
        old.send_weights()


@pytest.mark.parametrize(("fault", "told"), [("refuses", "PermissionError: not me"), ("absent", "1 s")])
def test_a_group_that_cannot_be_formed_says_why_within_the_deadline(fault: str, told: str) -> None:
    started = time.monotonic()
    with pytest.raises(TransferError, match=told):
        form([Receiver("good"), Receiver("bad", fault=fault)], DictSource(TENSORS), timeout_s=1)
    assert time.monotonic() - started < 4


@pytest.mark.parametrize(("fault", "told"), [("dies", "bad: ConnectionError: killed"), ("silent", r"bad|timed out")])
def test_a_worker_that_fails_a_push_ends_it_within_the_deadline(fault: str, told: str) -> None:
    source = DictSource(TENSORS)
    sender = form([Receiver("good"), Receiver("bad", fault=fault)], source, timeout_s=3)
    started = time.monotonic()
    with pytest.raises(TransferError, match=told):
        sender.send_weights()
    assert time.monotonic() - started < 10
    # Other learner ranks gather with the sender: it must not stop half-way.
    assert source.num_yielded == len(TENSORS)


def test_a_source_that_contradicts_its_metadata_is_named() -> None:
    class Liar(DictSource):
        def metadata(self) -> list[ParamMeta]:
            return [ParamMeta("a", torch.float32, (6,))]

    sender = form([Receiver("one")], Liar({"a": TENSORS["a"]}), timeout_s=3)
    with pytest.raises(ValueError, match=r"'a'.*\(6,\).*yields.*\(5,\)"):
        sender.send_weights()


def test_learner_ranks_that_do_not_send_only_join_in_gathering() -> None:
    register()
    source = DictSource(TENSORS)
    info = trainer_init_info(
        GlooTransferConfig(), rank=1, world_size=2, master_address="127.0.0.1", master_port=0, timeout_s=1
    )
    WeightTransferTrainerFactory.trainer_init(info, client=FanOutClient([], 1), source=source).send_weights()
    assert source.num_yielded == len(TENSORS)


def test_a_worker_that_does_not_answer_is_named() -> None:
    client = FanOutClient(
        [ThreadReceiver(Receiver("quick")), ThreadReceiver(Receiver("sleepy", fault="silent"))], timeout_s=0.2
    )
    with pytest.raises(WorkersFailedError, match=r"'receive_weights'.*sleepy: no answer within 0\.2 s"):
        client.update_weights({"names": [], "dtype_names": [], "shapes": []})


def test_sending_without_a_version_is_refused() -> None:
    client = FanOutClient([], 1)
    with pytest.raises(TransferError, match="version"):
        client.start_weight_update()
    with client.sending(WeightUpdate(version=1)):
        client.start_weight_update()
    with pytest.raises(TransferError, match="version"):
        client.start_weight_update()


class Doubling(QuantizeMethodBase):
    """Makes something else of what was loaded, as a layer that packs its weights for a kernel does."""

    def create_weights(self, layer: nn.Module, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    def apply(self, layer: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        raise NotImplementedError

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        layer.weight.data.mul_(2)


class CopiedElements(TorchDispatchMode):
    """Counts elements that are copied into parameters' memory or on the way to it."""

    num = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.copy_.default and args[0].device.type == "cpu":
            self.num += args[0].numel()
        return func(*args, **(kwargs or {}))


class TwoLayers(nn.Module):
    """One that vLLM leaves as it was loaded, and one that it processes."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.processed = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        self.processed.quant_method = Doubling()

    def load_weights(self, weights: Any) -> set[str]:
        parameters, loaded = dict(self.named_parameters()), set()
        for name, tensor in weights:
            getattr(parameters[name], "weight_loader", default_weight_loader)(parameters[name], tensor)
            loaded.add(name)
        return loaded


def engine_with(model: nn.Module) -> GlooWeightTransferEngine:
    record_metadata_for_reloading(model)
    parallel = SimpleNamespace(data_parallel_index=0, world_size=1, rank=0)
    vllm_config = SimpleNamespace(parallel_config=parallel, model_config=SimpleNamespace(dtype=torch.float32))
    return GlooWeightTransferEngine(None, vllm_config, torch.device("cpu"), model)


def test_what_vllm_does_not_process_is_copied_once_into_the_memory_where_it_was() -> None:
    model = TwoLayers()
    engine = engine_with(model)
    addresses = [parameter.data_ptr() for parameter in model.parameters()]
    for value in (3.0, 5.0):  # a second update finds the layers as the first one did
        engine.start_weight_update()
        with CopiedElements() as copied:
            shapes = {"plain.weight": (8, 8), "plain.bias": (8,)}
            model.load_weights((name, torch.full(shape, value)) for name, shape in shapes.items())
        assert copied.num == 72
        model.load_weights([("processed.weight", torch.full((8, 8), value))])
        engine.finish_weight_update()
        assert [parameter.data_ptr() for parameter in model.parameters()] == addresses
        assert model.plain.weight.eq(value).all()
        assert model.plain.bias.eq(value).all()
        assert model.processed.weight.eq(2 * value).all()


def test_layers_of_which_nothing_comes_stay_as_they_were() -> None:
    model = TwoLayers()
    engine, before = engine_with(model), {name: value.clone() for name, value in model.state_dict().items()}
    engine.start_weight_update()
    engine.finish_weight_update()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_either_end_of_the_backend_is_the_one_that_the_config_means() -> None:
    register()
    backend = GlooTransferConfig.backend
    assert WeightTransferTrainerFactory._registry[backend]() is GlooTrainerWeightTransferEngine
    assert WeightTransferEngineFactory._registry[backend]() is GlooWeightTransferEngine

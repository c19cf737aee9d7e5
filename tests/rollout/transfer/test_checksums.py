"""What a push is verified by, without a transport."""

import torch
from torch import nn

from rollout.transfer.checksums import ReceivedChecksums, Weights, tensor_checksum
from rollout.worker_extension import TransferWorkerExtension


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.loaded: dict[str, torch.Tensor] = {}

    def load_weights(self, weights: Weights) -> set[str]:
        self.loaded |= dict(weights)
        return set(self.loaded)


TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3.0), "c": torch.ones(4, dtype=torch.bfloat16)}


def test_a_checksum_is_of_the_bytes_in_row_major_order() -> None:
    # BLAKE3's published test vector for the bytes 0 to 7, here as two floats.
    expected = "2351207d04fc16ade43ccab08600939c7c1fa70a5c0aaca76063d04c3228eaeb"
    assert tensor_checksum(torch.arange(8, dtype=torch.uint8).view(torch.float32)) == expected
    turned = TENSORS["a"].t()
    assert tensor_checksum(turned) == tensor_checksum(turned.contiguous()) != tensor_checksum(TENSORS["a"])


def test_what_the_model_is_handed_is_hashed_by_name_and_loaded_as_ever() -> None:
    model, other = Model(), Model()
    received = ReceivedChecksums(model)
    received.expect(["a", "c"])
    assert model.load_weights(iter(list(TENSORS.items())[:2])) == {"a", "b"}
    model.load_weights([("c", TENSORS["c"])])
    other.load_weights([("c", TENSORS["c"] + 1)])
    assert received.found == {name: tensor_checksum(TENSORS[name]) for name in ("a", "c")}
    assert all(torch.equal(model.loaded[name], tensor) for name, tensor in TENSORS.items())


def test_a_bit_that_changed_on_the_way_shows_and_a_new_update_forgets_the_old_one() -> None:
    worker = TransferWorkerExtension()
    worker.weight_transfer_engine = type("Engine", (), {"model": Model()})()
    assert worker.received_checksums() == {}
    worker.expect_checksums(["a", "b"])
    damaged = TENSORS["a"].clone()
    damaged[1, 2] = torch.nextafter(damaged[1, 2], torch.tensor(9.0))
    worker.weight_transfer_engine.model.load_weights({"a": damaged, "b": TENSORS["b"]}.items())
    found = worker.received_checksums()
    assert found["b"] == tensor_checksum(TENSORS["b"])
    assert found["a"] != tensor_checksum(TENSORS["a"])
    worker.expect_checksums(["b"])
    assert worker.received_checksums() == {}

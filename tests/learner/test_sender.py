"""What each push brings and is verified by, over a channel that remembers."""

from collections.abc import Collection, Mapping

import pytest
import torch
from torch import nn
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

from learner.sender import WeightSender, names_to_verify
from learner.weights import DeepSpeedWeightSource


class RememberingChannel:
    """Takes what is packed, and sends it to nobody."""

    def __init__(self) -> None:
        self.packed: list[dict[str, float]] = []
        """Each pass: the first element of each weight."""
        self.hashed: list[set[str]] = []
        self.sent: list[tuple[int, Mapping[str, int]]] = []
        self.failure: Exception | None = None
        self.is_closed = False

    def pack(self, weights: WeightSource, hashed: Collection[str]) -> None:
        self.packed.append({name: tensor.flatten()[0].item() for name, tensor in weights})
        self.hashed.append(set(hashed))

    def send(self, version: int, unchanged: Mapping[str, int]) -> Mapping[str, str]:
        if self.failure is not None:
            raise self.failure
        self.sent.append((version, unchanged))
        return {name: f"{self.packed[-1][name]:g}" for name in self.hashed[-1]}

    def close(self) -> None:
        self.is_closed = True


def make_sender(
    verify_every: int = 2, always_whole: bool = False
) -> tuple[WeightSender, RememberingChannel, nn.Sequential]:
    """A model of four weights, 2 × (3·2 + 2) elements, of which the second layer's bias is frozen."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(3, 2))
    for value, weight in enumerate(model.parameters()):
        nn.init.constant_(weight, float(value))
    model[1].bias.requires_grad_(False)
    channel = RememberingChannel()
    weights = DeepSpeedWeightSource(model, torch.bfloat16)
    return WeightSender(channel, weights, verify_every, always_whole), channel, model


def push(sender: WeightSender, version: int) -> tuple[int, set[str]]:
    sender.pack(version)
    receipt = sender.push(version)
    return receipt.num_bytes, set(receipt.checksums)


def test_the_first_push_brings_and_verifies_everything_and_later_ones_what_is_trained_in_turns() -> None:
    sender, channel, _ = make_sender()
    assert push(sender, 7) == (2 * 16, {"0.weight", "0.bias", "1.weight", "1.bias"})
    assert push(sender, 8) == (2 * 14, {"0.weight", "1.weight"})
    assert push(sender, 9) == (2 * 14, {"0.bias"})
    assert channel.sent == [(7, {}), (8, {"1.bias": 2}), (9, {"1.bias": 2})]


def test_engines_that_dropped_their_weights_are_sent_frozen_ones_each_time_and_verified_in_turns() -> None:
    sender, channel, _ = make_sender(always_whole=True)
    assert push(sender, 7) == (2 * 16, {"0.weight", "0.bias", "1.weight", "1.bias"})
    assert push(sender, 8) == (2 * 16, {"0.weight", "1.weight"})
    assert push(sender, 9) == (2 * 16, {"0.bias", "1.bias"})
    assert channel.sent == [(7, {}), (8, {}), (9, {})]


def test_after_a_push_that_failed_the_next_brings_everything_again() -> None:
    sender, channel, _ = make_sender()
    channel.failure = ConnectionError("lost")
    with pytest.raises(ConnectionError):
        push(sender, 7)
    channel.failure = None
    assert push(sender, 7)[0] == 2 * 16


def test_a_push_sends_what_was_packed_for_it_and_packs_what_was_not() -> None:
    sender, channel, model = make_sender()
    sender.pack(1)
    with torch.no_grad():
        model[0].bias.fill_(5)
    sender.push(1)
    assert channel.packed[-1]["0.bias"] == 1
    sender.push(2)  # not packed at all
    assert channel.packed[-1]["0.bias"] == 5
    sender.pack(3)
    with torch.no_grad():
        model[0].bias.fill_(6)
    sender.push(4)  # packed for another version
    assert channel.packed[-1]["0.bias"] == 6
    assert [version for version, _ in channel.sent] == [1, 2, 4]


def test_a_closed_sender_has_left_its_group() -> None:
    sender, channel, _ = make_sender()
    sender.close()
    assert channel.is_closed


def test_every_tensor_has_its_turn() -> None:
    metas = [ParamMeta(name, torch.float32, (1,)) for name in "abcdefg"]
    turns = [names_to_verify(metas, every=3, turn=turn) for turn in range(5, 8)]
    assert sorted(map(len, turns)) == [2, 2, 3]
    assert set().union(*turns) == set("abcdefg")
    assert names_to_verify(metas, every=1, turn=5) == set("abcdefg")

"""Weights on their way inside one card: over CUDA IPC, and over NCCL between two processes that share it."""

from collections.abc import Iterator

import pytest
import torch

from learner.weights import DeepSpeedWeightSource
from rollout.config import IpcTransferConfig, NcclTransferConfig, TransferConfig
from vlm.policy import Policy, load_policy

from .conftest import TOLERANCE, EngineHost, TinyWorld, channel_to, running_host

pytestmark = [pytest.mark.stack, pytest.mark.gpu]

# The first is less than the largest tensor, which has 0.2 MB.
TRANSFERS = (IpcTransferConfig(bucket_mb=0.05), NcclTransferConfig(bucket_mb=1.0))


@pytest.fixture(scope="module", params=TRANSFERS, ids=lambda transfer: transfer.type)
def transfer(request: pytest.FixtureRequest) -> TransferConfig:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def host(card: str, world: TinyWorld, transfer: TransferConfig) -> Iterator[EngineHost]:
    with pytest.MonkeyPatch.context() as environment:
        # NCCL refuses two processes of one card, unless it takes them for two machines.
        environment.setenv("NCCL_HOSTID", "engine")
        with running_host(world, transfer=transfer, control_timeout_s=60.0, transfer_timeout_s=60.0) as running:
            environment.setenv("NCCL_HOSTID", "learner")
            yield running


def distance(host: EngineHost, world: TinyWorld, policy: Policy) -> float:
    """Largest difference between the engine's and the learner's log-probabilities of one response."""
    trajectory = host.run(host.engine.generate(world.request(seed=1)))
    learner = world.learner_logprobs(policy.cpu(), trajectory)
    return float((torch.tensor(trajectory.rollout_logprobs) - learner).abs().max())


def test_pushes_inside_one_card_bring_the_weights_and_their_checksums(
    card: str, host: EngineHost, world: TinyWorld, transfer: TransferConfig
) -> None:
    policy = load_policy(world.model)
    source = DeepSpeedWeightSource(policy.to(card).vlm, torch.float32)
    channel = channel_to([host], source, transfer=transfer, device=card)
    for version in (1, 2):
        with torch.no_grad():
            for parameter in policy.vlm.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        assert distance(host, world, policy) > 10 * TOLERANCE
        policy.to(card)
        channel.pack(source, [meta.name for meta in source.metadata()])
        host.run(host.engine.update.pause())
        sent = channel.send(version, {})
        host.run(host.engine.update.resume())
        (received,) = host.run(host.engine.update.received_checksums())
        assert received == sent
        assert distance(host, world, policy) < TOLERANCE
    channel.close()

"""One toy world for all tests of the learner, and engines that start quickly beside each other in one process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from learner.config import LearnerConfig
from learner.engine import LearnerEngine
from spatial.images import ImageStore
from spatial.sample import SpatialSample
from tests.learner.toy import free_port, make_encoder, make_model, make_samples
from vlm.prompt import PromptEncoder


@dataclass(frozen=True)
class ToyWorld:
    """A model folder, another one with the same vocabulary as reference, and 10 samples in two lengths a path."""

    root: Path
    model: Path
    reference: Path
    encoder: PromptEncoder
    samples: list[SpatialSample]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("learner")
    make_model(root / "tiny")
    make_model(root / "reference", seed=1)
    store = ImageStore(root / "images")
    return ToyWorld(
        root, root / "tiny", root / "reference", make_encoder(root / "tiny", store), make_samples(store, 10)
    )


StartEngine = Callable[[LearnerConfig], LearnerEngine]


@pytest.fixture
def start_engine(world: ToyWorld) -> Iterator[StartEngine]:
    """Starts engines of one rank, and closes them after the test."""
    engines: list[LearnerEngine] = []

    def start(config: LearnerConfig) -> LearnerEngine:
        engine = LearnerEngine(world.model, world.encoder, config, master_port=free_port(), reference=world.reference)
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        engine.close()

"""`sr-real data check --config`: whether the samples of a file fit into the engines of a run."""

import tempfile
from collections import Counter
from pathlib import Path

from corpora.checks.findings import Finding
from launch.run.prompt_checks import prompt_checks
from launch.run.sample_faults import Fault, remedy_for, worst_of
from launch.settings.config import ConfigError, RunConfig
from launch.settings.model_paths import find_model
from spatial.images import ImageStore
from spatial.sample import SpatialSample
from vlm.config import TinyModelConfig
from vlm.prompt import PromptEncoder
from vlm.tiny import build_tiny_checkpoint


class FitCheck:
    """The checks that a run makes before it starts, as one of `corpora.checks`."""

    def __init__(self, config: RunConfig, images: ImageStore) -> None:
        """
        Args:
            images: the store with the samples' depth maps.

        Raises:
            ConfigError: the model is not there, or cannot be asked with the config's prompts.
        """
        self._checks = prompt_checks(config, _encoder(config, images))
        self._faults: dict[str, Fault] = {}
        self._num_checked = 0

    def add(self, sample: SpatialSample) -> bool:
        """Whether a run with this config would not use the sample."""
        self._num_checked += 1
        fault = next((fault for check in self._checks if (fault := check(sample))), None)
        if fault:
            self._faults[sample.sample_id] = fault
        return fault is not None

    def findings(self) -> list[Finding]:
        """One for each cause, the most frequent first."""
        return [
            Finding(
                words=f"have {cause.words}",
                remedy=remedy_for(cause, self._faults),
                num=num,
                num_checked=self._num_checked,
                sample_ids=worst_of(cause, self._faults),
            )
            for cause, num in Counter(fault.cause for fault in self._faults.values()).most_common()
        ]


def _encoder(config: RunConfig, images: ImageStore) -> PromptEncoder:
    """The prompts of the config's model; region tokens are known even if its folder has none yet."""
    try:
        if not isinstance(config.model, TinyModelConfig):
            return PromptEncoder(find_model(config.model.path), images, config.prompt, adds_region_token=True)
        with tempfile.TemporaryDirectory() as folder:
            # Every word is a token, known or unknown, so the words of the data do not matter here.
            build_tiny_checkpoint(Path(folder), [], config.model, config.seed)
            return PromptEncoder(folder, images, config.prompt)
    except ValueError as error:
        raise ConfigError(str(error)) from None

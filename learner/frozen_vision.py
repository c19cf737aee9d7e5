"""Where the vision tower and the projector are not trained, an update encodes each image once.

An update meets an image several times: for the proximal log-probabilities, for the reference's, and for training. What
a frozen tower makes of it is the same each time.

Left out on purpose: ZeRO-3. There a call of the vision tower is a collective, so every rank must make equally many,
whatever it remembers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vlm.families import family_of
from vlm.image_features import FeatureCache


class FrozenVision:
    """Gives the policy a memory for features of images while an update lasts."""

    def __init__(self, policy: Any, reference: Any, max_bytes: int) -> None:
        """
        Args:
            policy: in training; a `Policy` that is whole on this rank.
            reference: the reference, if it has weights of its own. One that is the policy without its adapters takes
                whatever the policy keeps.
            max_bytes: most memory of the device for features.
        """
        self._policy = policy
        self._reference = reference
        self._max_bytes = max_bytes

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Features are kept until the end of this, if no weight that makes them is trained. The reference takes the
        policy's, if all these weights are equal."""
        weights = vision_weights(self._policy.vlm)
        if any(weight.requires_grad for weight in weights.values()):
            yield
            return
        policies = [self._policy]
        if self._reference is not None and are_equal(weights, vision_weights(self._reference.vlm)):
            policies.append(self._reference)
        cache = FeatureCache(self._max_bytes)
        for policy in policies:
            policy.feature_cache = cache
        try:
            yield
        finally:
            for policy in policies:
                policy.feature_cache = None
            cache.clear()


def vision_weights(vlm: Any) -> dict[str, Tensor]:
    """All weights that features of images depend on: those of the vision tower and of the projector."""
    family = family_of(vlm.config.model_type)
    return {name: weight for name, weight in vlm.named_parameters() if family.part_of(name) in ("vision", "projector")}


def are_equal(some: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    """Whether both have the same weights, bit by bit."""
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)

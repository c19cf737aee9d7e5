"""The pointer loss: from the last token of an object's name, one attention head looks at the object's image tokens.

    loss = mean over mentions of -log( Σ attention weights on the image tokens that the object's box touches )

The head's weights are computed a second time from the inputs of its layer, so any attention implementation works.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from learner.algorithms.algorithm import Tokens
from learner.batch import Row
from learner.config import PointerConfig
from learner.objective import Objective
from vlm.families import FAMILIES, family_of
from vlm.prompt import PromptEncoder


class Mention(NamedTuple):
    """A name in a row of a micro-batch, and the tokens of the row that show what it names."""

    row: int
    token: int
    """Position of the last token of the name."""
    targets: tuple[int, ...]
    """Positions of the image tokens that the box of the object touches."""


def find_mentions(rows: Sequence[Row], encoder: PromptEncoder) -> list[Mention]:
    """Every mention of an object in view, in prompts and responses alike."""
    mentions = []
    for index, row in enumerate(rows):
        ids = [*row.prompt_token_ids, *row.response_token_ids]
        cells = encoder.cells_of_objects(row.sample, row.path)
        image_tokens = [place for place, token_id in enumerate(ids) if token_id == encoder.image_token_id]
        for seen, cells_of_it in zip(row.sample.objects, cells, strict=True):
            targets = tuple(image_tokens[cell] for cell in cells_of_it)
            for name in encoder.spellings(seen.name):
                ends = _ends_of(name, ids)
                mentions += [Mention(index, end, targets) for end in ends if end > image_tokens[-1]]
    return mentions


def _ends_of(name: Sequence[int], ids: Sequence[int]) -> list[int]:
    """The position of the last token of each occurrence of `name` in `ids`."""
    length = len(name)
    return [
        place + length - 1
        for place, token_id in enumerate(ids)
        if token_id == name[0] and tuple(ids[place : place + length]) == tuple(name)
    ]


class Pointer:
    """One attention head, watched."""

    def __init__(self, vlm: Any, config: PointerConfig) -> None:
        """
        Raises:
            ValueError: the model has no such layer or head, or its family has no pointer loss.
        """
        family = family_of(vlm.config.model_type)
        if family.queries_and_keys is None:
            able = ", ".join(other.title for other in FAMILIES if other.queries_and_keys is not None)
            raise ValueError(
                f"sft.pointer: there is no pointer loss for {family.title}, only for {able}; leave sft.pointer out, or "
                "give the family `queries_and_keys` in vlm/families.py"
            )
        self._queries_and_keys = family.queries_and_keys
        layers = vlm.model.language_model.layers
        num_heads = vlm.config.text_config.num_attention_heads
        if config.layer >= len(layers) or config.head >= num_heads:
            raise ValueError(
                f"sft.pointer: layer={config.layer}, head={config.head}, but the model has {len(layers)} layers of "
                f"{num_heads} heads"
            )
        self._config = config
        self._attention = layers[config.layer].self_attn
        self._attention.register_forward_pre_hook(self._keep, with_kwargs=True)
        self._given: dict[str, Any] = {}

    def added_to(self, objective: Objective, mentions: Sequence[Mention], share: float) -> Objective:
        """The objective with the pointer loss of the same forward pass.

        Args:
            mentions: those in this micro-batch.
            share: of all mentions of the mini-batch, so that the loss is their mean however the batch was cut.
        """

        def both(logprobs: Tokens, entropies: Tokens) -> tuple[Tensor, dict[str, Tokens]]:
            loss, statistics = objective(logprobs, entropies)
            if mentions:
                pointing = -self.attention_on_targets(mentions).clamp_min(1e-6).log().mean()
                loss = loss + self._config.weight * share * pointing
                statistics = {**statistics, "pointer": pointing.detach().expand_as(logprobs)}
            else:
                statistics = {**statistics, "pointer": torch.zeros_like(logprobs)}
            self._given = {}
            return loss, statistics

        return both

    def attention_on_targets(self, mentions: Sequence[Mention]) -> Float[Tensor, " mentions"]:
        """The share of the head's attention that falls on each mention's targets, in the last forward pass."""
        weights = self._weights(mentions)
        targets = torch.zeros_like(weights, dtype=torch.bool)
        for index, mention in enumerate(mentions):
            targets[index, list(mention.targets)] = True
        return (weights * targets).sum(-1)

    def _weights(self, mentions: Sequence[Mention]) -> Float[Tensor, "mentions tokens"]:
        attention = self._attention
        queries, keys = self._queries_and_keys(
            attention, self._given["hidden_states"], self._given["position_embeddings"]
        )
        # Of the watched head, [tokens, width], row behind row.
        of_head = queries[:, self._config.head].flatten(0, 1)
        keys_of_head = keys[:, self._config.head // attention.num_key_value_groups].flatten(0, 1)
        ends, longest = self._given.get("cu_seq_lens_q"), self._given.get("max_length_q", queries.shape[2])
        starts = torch.arange(len(queries)) * longest if ends is None else ends.cpu()
        first = starts[[mention.row for mention in mentions]]
        last = first + torch.tensor([mention.token for mention in mentions])
        seen = first[:, None] + torch.arange(longest)
        later = (seen > last[:, None]).to(of_head.device)
        chosen_keys = keys_of_head[seen.clamp(max=len(keys_of_head) - 1).to(of_head.device)]
        scores = torch.einsum("md,mtd->mt", of_head[last.to(of_head.device)], chosen_keys) * attention.scaling
        return scores.masked_fill(later, float("-inf")).softmax(-1)

    def _keep(self, module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._given = {"hidden_states": arguments[0]} | named if arguments else named

"""One GRPO batch and SFT steps in plain PyTorch: no DeepSpeed, no micro-batches, none of the learner's loss code."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from learner.batch import Row, TrainingRow, rows_by_group
from learner.config import LearnerConfig
from learner.plan import shuffle_into_mini_batches
from vlm.policy import Policy, PolicyBatch, PolicyRow
from vlm.prompt import PromptEncoder


class PlainLearner:
    """The default losses (GRPO ratio, token importance, k3, token mean), AdamW, and warm-up."""

    def __init__(self, policy: Policy, reference: Policy, encoder: PromptEncoder, config: LearnerConfig) -> None:
        optimizer, warmup = config.optimizer, config.optimizer.warmup_steps
        self.policy, self._reference, self._encoder, self._config = policy, reference, encoder, config
        self._optimizer = torch.optim.AdamW(
            policy.parameters(),
            lr=optimizer.learning_rate,
            weight_decay=optimizer.weight_decay,
            eps=optimizer.epsilon,
        )
        self._schedule = LambdaLR(self._optimizer, lambda step: min(1.0, (step + 1) / warmup))

    def sft_step(self, rows: Sequence[Row]) -> float:
        logprobs = torch.cat([self._logprobs(self.policy, row) for row in rows])
        return self._step(-logprobs.mean())

    def policy_update(self, rows: Sequence[TrainingRow]) -> list[float]:
        """Returns the loss of every mini-batch."""
        config = self._config
        parts = shuffle_into_mini_batches(rows_by_group(rows), config.optimizer_steps_per_batch, seed=(config.seed, 0))
        with torch.no_grad():
            proximal = [self._logprobs(self.policy, row) for row in rows]
        return [
            self._step(torch.cat([self._token_losses(rows[i], proximal[i]) for group in part for i in group]).mean())
            for part in parts
        ]

    def _token_losses(self, row: TrainingRow, proximal: Tensor) -> Tensor:
        with torch.no_grad():
            reference = self._logprobs(self._reference, row)
        current = self._logprobs(self.policy, row)
        rollout = torch.tensor(row.trajectory.rollout_logprobs)
        ratio, a = (current - proximal).exp(), row.advantage
        surrogate = torch.maximum(-a * ratio, -a * ratio.clamp(0.8, 1.3))
        if a < 0:
            surrogate = surrogate.clamp(max=-a * 3.0)
        importance = (proximal - rollout).exp().clamp(max=2.0)
        r = (reference - current).exp()
        return importance * surrogate + self._config.kl_coefficient * (r - 1 - r.log())

    def _logprobs(self, policy: Policy, row: Row, temperature: float = 1.0) -> Tensor:
        inputs = PolicyRow(
            row.prompt_token_ids, row.response_token_ids, self._encoder.vision_inputs(row.sample, row.path)
        )
        batch = PolicyBatch.collate([inputs], self._encoder.pad_token_id, self._encoder.image_token_id)
        return policy(batch, temperature)[0][batch.response_mask]

    def _step(self, loss: Tensor) -> float:
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self._config.optimizer.max_grad_norm)
        self._optimizer.step()
        self._schedule.step()
        return loss.item()

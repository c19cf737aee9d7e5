"""The settings of an evaluation. Importing this needs neither vLLM nor torch."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from spatial.sample import ReasoningPath
from spatial.strict import StrictModel


class EvaluationConfig(StrictModel):
    """Held-out questions, each asked several times at the training temperature and once greedily."""

    paths: Annotated[tuple[ReasoningPath, ...], Field(min_length=1)] = tuple(ReasoningPath)
    """Paths to test; a path without questions in the test split is left out."""
    num_questions: Annotated[int, Field(ge=1)] | None = 400
    """Questions per path, from the beginning of the test split; null: all."""
    num_samples: Annotated[int, Field(ge=0)] = 4
    """Sampled responses per question, at `temperature`."""
    temperature: Annotated[float, Field(gt=0)] | None = None
    """Temperature of the sampled responses; null: `rollout.sampling.temperature`."""
    greedy: bool = True
    """Also ask each question once at temperature 0."""
    seed: Annotated[int, Field(ge=0)] = 1234
    """Seed of the sampling; keep it the same for models that are compared."""

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.num_samples and not self.greedy:
            raise ValueError("num_samples=0 and greedy=false: nothing is asked; set one of them")
        return self

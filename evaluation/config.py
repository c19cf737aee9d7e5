"""What an evaluation asks. Importing this needs neither vLLM nor torch."""

from typing import Annotated

from pydantic import Field

from spatial.sample import Path
from spatial.strict import StrictModel


class EvaluationConfig(StrictModel):
    """Held-out questions, asked several times at the training temperature and once greedily."""

    paths: Annotated[tuple[Path, ...], Field(min_length=1)] = tuple(Path)
    """Paths that are tested, as far as the test split has questions for them."""
    num_questions: Annotated[int, Field(ge=1)] = 400
    """Questions a path, the first so many of the test split."""
    num_samples: Annotated[int, Field(ge=1)] = 4
    """Responses a question at the training temperature."""
    greedy: bool = True
    """Ask once more with temperature 0."""
    seed: int = 1234
    """Of the sampling; the same for every model that is compared."""

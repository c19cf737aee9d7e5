"""Wrong answers at the end of true chains: what a cold start makes of bad examples."""

import numpy as np

from spatial.grammar import ANSWER_CLOSE, ANSWER_OPEN
from spatial.sample import Answer, ChoiceAnswer, NumberAnswer


def spoil(chain: str, answer: Answer, rng: np.random.Generator) -> str:
    """The same chain with a wrong answer: another option's letter, or a number half as large again (a count: one more).

    Raises:
        ValueError: the answer is neither a choice nor a number.
    """
    match answer:
        case ChoiceAnswer(letter=letter, num_options=num_options):
            others = [chr(ord("A") + index) for index in range(num_options) if chr(ord("A") + index) != letter]
            wrong = others[int(rng.integers(len(others)))]
        case NumberAnswer(value=value, unit="count"):
            wrong = f"{value + 1:.0f}"
        case NumberAnswer(value=value, unit="oclock"):
            wrong = f"{(value + 5) % 12 + 1:.0f} o'clock"
        case NumberAnswer(value=value):
            wrong = f"{1.5 * value:.2f} m"
        case _:
            raise ValueError(f"a {answer.type} answer cannot be spoilt")
    head, _, _ = chain.rpartition(ANSWER_OPEN)
    return f"{head}{ANSWER_OPEN}{wrong}{ANSWER_CLOSE}"

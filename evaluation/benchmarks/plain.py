"""An answer without Markdown and LaTeX markup."""

import re
import unicodedata

_MARKUP = (
    (re.compile(r"</?s>|<\|\w+\|>"), ""),  # end tokens of models
    (re.compile(r"\\[,;:! ]|\\quad\b|(?<=[\w}])~(?=\\)"), " "),
    (re.compile(r"\\(?:SI|qty)\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r" \1 \2 "),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|textrm|mbox|bf|rm|si|unit|operatorname)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(milli|centi|kilo)?\\?(met(?:er|re)s?\b)"), r"\1\2"),
    (re.compile(r"\\sqrt\s*\{?"), "√"),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?"), "°"),
    (re.compile(r"\\scalar\s*\{([^{}]*)\}\s*\\distance_unit\s*\{([^{}]*)\}"), r" the answer is \1 \2 "),
    (re.compile(r"\\(?:boxed|scalar)\s*\{([^{}]*)\}"), r" the answer is \1 "),
    (re.compile(r"\\[()\[\]]|[`$]|__|(?<!\d)\*+|\*+(?!\d)"), ""),
    (re.compile(r"\\(?:approx|sim|ca)\b"), " "),
)
_FRACTION = re.compile(r"(?<!\d)\\[dt]?frac\s*\{\s*(\d{1,9})\s*\}\s*\{\s*([1-9]\d{0,8})\s*\}")


def plain(answer: str) -> str:
    """The answer without markup and with full-width characters normalised; "\\boxed{x}" becomes "the answer is x"."""
    answer = _FRACTION.sub(lambda match: f"{int(match[1]) / int(match[2])!r}", answer)
    for pattern, kept in _MARKUP:
        answer = pattern.sub(kept, answer)
    return unicodedata.normalize("NFKC", answer).strip()

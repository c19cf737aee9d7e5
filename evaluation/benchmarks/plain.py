"""An answer without the marks of Markdown and LaTeX around what it says."""

import re
import unicodedata

_MARKUP = (
    (re.compile(r"</?s>|<\|\w+\|>"), ""),  # a model's own signs of an end
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
    """Marks gone, full-width forms as the usual ones; what is boxed is called the answer."""
    answer = _FRACTION.sub(lambda match: f"{int(match[1]) / int(match[2])!r}", answer)
    for pattern, kept in _MARKUP:
        answer = pattern.sub(kept, answer)
    return unicodedata.normalize("NFKC", answer).strip()

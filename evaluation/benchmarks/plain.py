"""An answer without the marks of Markdown and LaTeX around what it says."""

import re
import unicodedata

_MARKUP = (
    (re.compile(r"</?s>|<\|\w+\|>"), ""),  # a model's own signs of an end
    (re.compile(r"\\[,;:! ]|\\quad\b|(?<=[\w}])~(?=\\)"), " "),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|bf|rm|operatorname|distance_unit)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?"), "°"),
    (re.compile(r"(?<!\d)\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}"), r"\1/\2"),
    (re.compile(r"\\(?:boxed|scalar)\s*\{([^{}]*)\}"), r" the answer is \1 "),
    (re.compile(r"\\[()\[\]]|[`$]|__|(?<!\d)\*+|\*+(?!\d)"), ""),
    (re.compile(r"\\(?:approx|sim|ca)\b"), " "),
)


def plain(answer: str) -> str:
    """Marks gone, full-width forms as the usual ones; what is boxed is called the answer."""
    for pattern, kept in _MARKUP:
        answer = pattern.sub(kept, answer)
    return unicodedata.normalize("NFKC", answer).strip()

"""A response, cut where another weight version continued it."""

from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from dashboard.groups import RecordedResponse


@lru_cache(maxsize=4)
def _tokenizer(file: Path, modified_ns: int) -> Tokenizer:
    return Tokenizer.from_file(str(file))


def pieces(response: RecordedResponse, tokenizer_file: Path) -> list[tuple[str, int | None]]:
    """The response's text in pieces, each with the weight version that wrote it.

    If several versions wrote it and the run's folder has no tokenizer to find the cuts: one piece, without a version.
    """
    spans = response.version_spans
    if len(spans) <= 1:
        return [(response.text, spans[0][0] if spans else None)]
    if not tokenizer_file.exists():
        return [(response.text, None)]
    tokenizer = _tokenizer(tokenizer_file, tokenizer_file.stat().st_mtime_ns)
    found: list[tuple[str, int | None]] = []
    num_tokens = num_characters = 0
    for version, number in spans:
        num_tokens += number
        # Decoded from the start each time: a token's text may depend on the tokens before it.
        text = tokenizer.decode(list(response.token_ids[:num_tokens]), skip_special_tokens=True)
        found.append((text[num_characters:], version))
        num_characters = len(text)
    return found

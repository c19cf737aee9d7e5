"""COCO's run-length encoding as a string, with bounds, because a malicious file could exhaust the memory."""

from collections.abc import Sequence

from corpora.rows import RowError

MAX_CHARS = 1_000_000
_MAX_GROUPS = 7
"""Most groups of five bits per number: more than any count of pixels needs."""


def read_rle(
    counts: str | Sequence[int], size_hw: Sequence[int], image_hw: tuple[int, int], field: str
) -> tuple[int, ...]:
    """Lengths of runs outside and inside the mask in turn, column by column, outside first; they sum to the pixels.

    The string encodes each number in groups of five bits, lowest first. Each group is a character of 48 to 111, whose
    sixth bit says that another group follows. From the fourth number on, the difference to the number two places before
    is encoded (COCO's maskApi).

    Raises:
        RowError: it has another size than the image, or is not such an encoding. The declared size is never allocated.
    """
    if tuple(size_hw) != image_hw:
        advice = f"its image has height and width {list(image_hw)}; an encoding is of the whole image"
        raise RowError(f"{field}.size", list(size_hw)[:4], advice)
    if len(counts) > MAX_CHARS:
        raise RowError(f"{field}.counts", len(counts), f"more than {MAX_CHARS} characters")
    runs = _runs(counts, field) if isinstance(counts, str) else list(counts)
    if min(runs, default=-1) < 0:
        raise RowError(f"{field}.counts", str(counts)[:40], "a run is shorter than 0")
    num_pixels = image_hw[0] * image_hw[1]
    if sum(runs) != num_pixels:
        raise RowError(f"{field}.counts", sum(runs), f"its runs must add up to {num_pixels} pixels")
    return tuple(runs)


def _runs(counts: str, field: str) -> list[int]:
    runs: list[int] = []
    value, num_groups = 0, 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or num_groups == _MAX_GROUPS:
            raise RowError(f"{field}.counts", counts[:40], "no run-length encoding of COCO's")
        value |= (bits & 0x1F) << (5 * num_groups)
        num_groups += 1
        if bits & 0x20:
            continue
        if bits & 0x10:  # the sign
            value -= 1 << (5 * num_groups)
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, num_groups = 0, 0
    if num_groups:
        raise RowError(f"{field}.counts", counts[-40:], "breaks off within a number")
    return runs


def box_around(runs: Sequence[int], height_px: int) -> tuple[float, float, float, float]:
    """Left, top, right, bottom, in pixels, around the pixels of the mask.

    Raises:
        ValueError: the mask is empty.
    """
    tops, bottoms, lefts, rights = [], [], [], []
    start = 0
    for index, length in enumerate(runs):
        if index % 2 and length:
            last = start + length - 1
            lefts.append(start // height_px)
            rights.append(last // height_px)
            is_one_column = lefts[-1] == rights[-1]
            tops.append(start % height_px if is_one_column else 0)
            bottoms.append(last % height_px if is_one_column else height_px - 1)
        start += length
    if not lefts:
        raise ValueError("the mask is empty")
    return float(min(lefts)), float(min(tops)), float(max(rights) + 1), float(max(bottoms) + 1)

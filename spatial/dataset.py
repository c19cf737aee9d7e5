"""Reading samples from a file: bad lines are reported, counted and left out, up to a limit."""

import difflib
import hashlib
import re
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ValidationError

from spatial.images import ImageStore
from spatial.sample import Camera, DepthRef, ImageRef, Region, SeenObject, SpatialSample

_NUM_SHOWN = 5
_MAX_VALUE_CHARS = 60
_MAX_CAUSE_CHARS = 1000
_NUM_KEPT = 512
_ADVICE = {
    "json_invalid": "write one whole JSON object per line",
    "extra_forbidden": "remove it, or look for a misspelt name",
    "missing": "add it",
    "finite_number": "give a finite number, or leave an unknown truth out",
    "value_error": "correct the sample",
}

_PARTS: dict[str, type[BaseModel]] = {
    "images": ImageRef,
    "regions": Region,
    "objects": SeenObject,
    "camera": Camera,
    "depths": DepthRef,
}
"""The types of the parts of a sample."""

_VARIABLE = re.compile(
    r"<[^<>]* object at [^<>]*>|(?<!\w)b?'[^']*'(?!\w)|(?<!\w)b?\"[^\"]*\"(?!\w)|\[[^\n]*\]|\{[^\n]*\}"
    r"|(?<!\w)[\w.~-]*/[^\s;:,)]*|\b(?:red|blue|green|yellow|cyan|magenta|orange|white)(?: point\b|_(?:point|bbox)\b)"
    r"|\b0x[0-9a-f]+\b|\b[0-9a-f]{12,}…?|(?<!\w)[-+]?\d+(?:[.,x]\d+|e[-+]?\d+)*%?(?!\w)",
    re.IGNORECASE,
)
"""What advice may quote from its row: names, files, marks and numbers."""
_BRANCH = re.compile(r"[a-z-]+\[.*\]|str|int|float", re.DOTALL)
_PLACE = re.compile(r"^\d+$|^(?:red|blue|green|yellow)_(?=(?:point|bbox)$)")


class BadDataError(ValueError):
    """A file has too many bad samples to train on the rest."""


@dataclass(frozen=True)
class Reject:
    """Why a line was left out."""

    file: Path
    line: int
    """Counted from 1."""
    field: str
    """Dotted path in the sample ("regions.0.center_m.2"); "sample" for the whole."""
    value: str
    """The value there, shortened."""
    advice: str
    """What is wrong and what to do."""

    @classmethod
    def of(cls, file: Path, line: int, error: ValidationError, text: str = "") -> Self:
        """The first fault of a row; `text` is quoted where the fault is in the row as a whole."""
        first = error.errors()[0]
        field = dotted(first["loc"]) or "sample"
        # The input of such an error is the whole row; its message names the field already.
        value = repr(text or "…") if field == "sample" else repr(first["input"])
        advice = _misspelt(error) or _ADVICE.get(first["type"], "give what the type asks for")
        message = first["msg"].removeprefix("Value error, ")
        return cls(file, line, field, shorten(value), f"{message}; {advice}")

    @property
    def cause(self) -> str:
        """The fault without what differs from row to row (places, names, values); rejects are counted by it."""
        field = ".".join(filter(None, (_PLACE.sub("", part) for part in self.field.split("."))))
        return f"{field}: {_VARIABLE.sub('…', self.advice[:_MAX_CAUSE_CHARS])}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.value}: {self.advice}"


class SampleFile(Sequence[SpatialSample]):
    """The good samples of a file, read on demand; holds 8 bytes per sample, and the few hundred samples used last."""

    def __init__(self, file: Path, offsets: "array[int]") -> None:
        """
        Args:
            offsets: where the line of each sample begins, bytes.
        """
        self.file = file
        self._offsets = offsets
        self._sample = lru_cache(maxsize=_NUM_KEPT)(self._read)

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> SpatialSample:  # type: ignore[override]  # no slices
        return self._sample(range(len(self))[index])

    def __iter__(self) -> Iterator[SpatialSample]:
        with self.file.open("rb") as lines:
            for offset in self._offsets:
                lines.seek(offset)
                yield self._parsed(lines.readline(), offset)

    def _read(self, index: int) -> SpatialSample:
        with self.file.open("rb") as lines:
            lines.seek(self._offsets[index])
            return self._parsed(lines.readline(), self._offsets[index])

    def _parsed(self, line: bytes, offset: int) -> SpatialSample:
        try:
            return SpatialSample.model_validate_json(line)
        except ValidationError as error:
            raise BadDataError(f"{self.file}: has changed since it was checked (at byte {offset})") from error


class Subset(Sequence[SpatialSample]):
    """A part of a sequence of samples; it holds their places, not the samples."""

    def __init__(self, samples: Sequence[SpatialSample], keep: Callable[[SpatialSample], bool]) -> None:
        self._samples = samples
        self._places = array("Q", (place for place, sample in enumerate(samples) if keep(sample)))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> SpatialSample:  # type: ignore[override]
        return self._samples[self._places[index]]


@dataclass(frozen=True)
class LoadedSamples:
    """The good samples of a file in order, and the rejects."""

    samples: Sequence[SpatialSample]
    rejects: tuple[Reject, ...]


def open_samples(
    file: Path, images: ImageStore, max_bad_share: float = 0.01, left_out: Collection[str] = ()
) -> LoadedSamples:
    """Check a file with one `SpatialSample` as JSON per line; empty lines are ignored.

    Each line is read once, and good ones again when they are used. Memory: about 45 bytes per sample during the check,
    8 afterwards.

    Args:
        left_out: ids of samples to leave out although they are good.

    Raises:
        BadDataError: more than `max_bad_share` of the lines are bad, or there is no sample at all.
    """
    offsets, numbers, names = array("Q"), array("Q"), array("Q")
    rejects: list[Reject] = []
    is_stored = lru_cache(maxsize=_NUM_KEPT)(lambda ref: images.path(ref).is_file())
    offset = 0
    with file.open(
        "rb"
    ) as lines:  # bytes, so that a line that is not UTF-8 is one bad line and does not end the reading
        for number, line in enumerate(lines, start=1):
            start, offset = offset, offset + len(line)
            if not line.strip():
                continue
            sample = _read(file, number, line)
            if isinstance(sample, SpatialSample):
                sample = _check(file, number, sample, images, is_stored)
            if isinstance(sample, Reject):
                rejects.append(sample)
            elif sample.sample_id not in left_out:
                offsets.append(start)
                numbers.append(number)
                digest = hashlib.blake2b(sample.sample_id.encode(errors="surrogatepass"), digest_size=8).digest()
                names.append(int.from_bytes(digest, "little"))
    samples = SampleFile(file, offsets)
    if repeats := _repeats(names):
        for place, first in repeats.items():
            advice = f"line {numbers[first]} has this id already; give each sample its own"
            rejects.append(Reject(file, numbers[place], "sample_id", repr(samples[place].sample_id), advice))
        rejects.sort(key=lambda reject: reject.line)
        offsets = array("Q", (offset for place, offset in enumerate(offsets) if place not in repeats))
        samples = SampleFile(file, offsets)
    if not samples or len(rejects) > max_bad_share * (len(samples) + len(rejects)):
        raise BadDataError(_summary(file, len(samples), rejects, max_bad_share))
    return LoadedSamples(samples, tuple(rejects))


def _repeats(names: "array[int]") -> dict[int, int]:
    """Places of names that occurred before, each with the place of the first occurrence."""
    found = np.frombuffer(names, dtype=np.uint64) if names else np.zeros(0, np.uint64)
    order = np.argsort(found, kind="stable")  # stable: of equal names, the first in the file stays first
    ascending = found[order]
    is_same = np.flatnonzero(ascending[1:] == ascending[:-1]) + 1
    firsts: dict[int, int] = {}
    for place in is_same.tolist():
        earlier = int(order[place - 1])
        firsts[int(order[place])] = firsts.get(earlier, earlier)
    return firsts


def _read(file: Path, number: int, line: bytes) -> SpatialSample | Reject:
    try:
        return SpatialSample.model_validate_json(line)
    except ValidationError as error:
        return Reject.of(file, number, error, line.decode(errors="replace").strip())


def _check(
    file: Path,
    number: int,
    sample: SpatialSample,
    images: ImageStore,
    is_stored: Callable[[ImageRef | DepthRef], bool],
) -> SpatialSample | Reject:
    """The check that a sample cannot make itself: whether its images are stored."""
    for index, image in enumerate(sample.images):
        if not is_stored(image):
            advice = f"no such file; put {images.path(image)} in place, or point to the right image store"
            return Reject(file, number, f"images.{index}.sha256", repr(f"{image.sha256[:12]}…"), advice)
    for index, depth in enumerate(sample.depths):
        if depth and not is_stored(depth):
            advice = f"no such file; put {images.path(depth)} in place, or leave the depth out (null)"
            return Reject(file, number, f"depths.{index}.sha256", repr(f"{depth.sha256[:12]}…"), advice)
    return sample


def _summary(file: Path, num_good: int, rejects: Iterable[Reject], max_bad_share: float) -> str:
    reasons = [str(reject) for reject in rejects]
    total = num_good + len(reasons)
    if not total:
        return (
            f"{file}: holds no sample; a run needs at least one in each of train.jsonl, validation.jsonl and "
            "test.jsonl (`sr-real data import` writes all three if validation_share and test_share are above 0)"
        )
    shown = [*reasons[:_NUM_SHOWN], *([f"… and {len(reasons) - _NUM_SHOWN} more"] if len(reasons) > _NUM_SHOWN else [])]
    head = f"{file}: {len(reasons)} of {total} samples are bad, and at most {max_bad_share:.1%} may be:"
    return "\n  ".join([head, *shown])


def dotted(location: Iterable[int | str]) -> str:
    """The location of a pydantic error, without the branches of unions ("image.list[str].0" becomes "image.0")."""
    return ".".join(str(part) for part in location if not (isinstance(part, str) and _BRANCH.fullmatch(part)))


def _misspelt(error: ValidationError) -> str:
    """A suggestion if the first fault is an unknown key, or a missing key next to a similar unknown one; else ""."""
    first, *others = error.errors()
    *place, name = map(str, first["loc"]) if first["loc"] else [""]
    if first["type"] == "missing":
        unknown = [
            str(e["loc"][-1]) for e in others if e["type"] == "extra_forbidden" and e["loc"][:-1] == first["loc"][:-1]
        ]
        meant = difflib.get_close_matches(name, unknown, n=1)
        return f"is '{meant[0]}' meant? Write '{name}'" if meant else ""
    if first["type"] == "extra_forbidden":
        model = _PARTS.get(place[0], SpatialSample) if place else SpatialSample
        meant = difflib.get_close_matches(name, list(model.model_fields), n=1)
        return f"remove it, or did you mean '{meant[0]}'?" if meant else ""
    return ""


def shorten(text: str) -> str:
    """A value, cut to the length that fits a message."""
    return text if len(text) <= _MAX_VALUE_CHARS else text[: _MAX_VALUE_CHARS - 1] + "…"

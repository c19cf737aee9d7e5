"""The split of a sample, by its first image: samples with the same first image are in the same split."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import orjson

from spatial.sample import SpatialSample

SPLITS = ("train", "validation", "test")


def split_of(sample: SpatialSample, validation_share: float, test_share: float) -> str:
    """The split by the hash of the first image, so that adding data moves no sample to another split."""
    place = _place(_key(sample))
    if place < test_share:
        return "test"
    return "validation" if place < test_share + validation_share else "train"


def _key(sample: SpatialSample) -> str:
    return sample.images[0].sha256


def _place(sha256: str) -> float:
    """A number in [0, 1), uniformly distributed and always the same for an image."""
    return int(hashlib.sha256(sha256.encode()).hexdigest()[:13], 16) / 16**13


class Splits:
    """Assigns samples to splits one by one. A split that got no image (there may be few) gets one at the end."""

    def __init__(self, validation_share: float, test_share: float) -> None:
        self._shares = validation_share, test_share
        self._wanted = [*(["test"] * (test_share > 0)), *(["validation"] * (validation_share > 0)), "train"]
        # The split of each image; recorded only while some wanted split is empty.
        self._dealt: dict[str, str] = {}
        self._num_images = Counter[str]()

    def split_of(self, sample: SpatialSample) -> str:
        split = split_of(sample, *self._shares)
        if self._empty and _key(sample) not in self._dealt:
            self._dealt[_key(sample)] = split
            self._num_images[split] += 1
        return split

    @property
    def _empty(self) -> list[str]:
        return [split for split in self._wanted if not self._num_images[split]]

    def redeal(self, files: Mapping[str, Path], counts: Counter[str]) -> None:
        """Give each empty split an image of the fullest split, if that has at least two: the one that a slightly larger
        share would have given it.

        Args:
            files: the file of each split, with a sample per line.
            counts: the number of samples in each split; updated.
        """
        moved: dict[str, str] = {}
        for split in self._empty:
            fullest = max(SPLITS, key=lambda name: self._num_images[name])
            if self._num_images[fullest] < 2:
                break
            choose = max if split == "train" else min
            image = choose((image for image, dealt in self._dealt.items() if dealt == fullest), key=_place)
            self._dealt[image] = moved[image] = split
            self._num_images.update({split: 1, fullest: -1})
        if moved:
            _move(files, moved, counts)


def _move(files: Mapping[str, Path], moved: Mapping[str, str], counts: Counter[str]) -> None:
    lines = [(split, line) for split, file in files.items() for line in file.read_bytes().splitlines(keepends=True)]
    new: dict[str, list[bytes]] = {split: [] for split in files}
    for split, line in lines:
        new[moved.get(orjson.loads(line)["images"][0]["sha256"], split)].append(line)
    for split, file in files.items():
        file.write_bytes(b"".join(new[split]))
        counts[split] = len(new[split])


def notes_on_empty(counts: Mapping[str, int], validation_share: float, test_share: float) -> list[str]:
    """Notes on splits without a sample: a run needs one in each."""
    notes = []
    for split, share in (("validation", validation_share), ("test", test_share)):
        if not counts.get(split):
            why = "all samples have the same first image" if share else f"{split}_share=0"
            remedy = "import more images" if share else f"set {split}_share above 0"
            notes.append(
                f"no sample is in {split}.jsonl ({why}), and a run needs one in each file: {remedy}, or put lines of "
                "your own into it"
            )
    return notes

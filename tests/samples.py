"""Files of samples as tests read them."""

from pathlib import Path

from spatial.dataset import LoadedSamples, open_samples
from spatial.images import ImageStore


def load_samples(file: Path, images: ImageStore, max_bad_share: float = 0.01) -> LoadedSamples:
    """As `open_samples`, all of them in memory."""
    opened = open_samples(file, images, max_bad_share)
    return LoadedSamples(tuple(opened.samples), opened.rejects)

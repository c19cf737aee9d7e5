"""All readers, each by its `type`."""

from collections.abc import Iterator
from typing import Annotated, get_args

from pydantic import Field

from corpora import ca1m, embodied_scan, hugging_face, omni3d, open_spatial, own, spar, sr_real
from corpora.ca1m import Ca1mReader
from corpora.embodied_scan import EmbodiedScanReader
from corpora.hugging_face import HuggingFaceReader
from corpora.omni3d import Omni3DReader
from corpora.open_spatial import OpenSpatialReader
from corpora.own import OwnReader
from corpora.rows import Item
from corpora.spar import SparReader
from corpora.sr_real import SrRealReader
from spatial.images import ImageStore

Reader = Annotated[
    OwnReader
    | SrRealReader
    | SparReader
    | OpenSpatialReader
    | Omni3DReader
    | EmbodiedScanReader
    | Ca1mReader
    | HuggingFaceReader,
    Field(discriminator="type"),
]
READERS = get_args(get_args(Reader)[0])
"""The settings of each reader."""


def read(config: Reader, images: ImageStore) -> Iterator[Item]:
    """The samples of a data set as they come, and a named reject for each row that is none. Memory stays flat.

    Args:
        images: where its images are put.

    Raises:
        FileNotFoundError: a file of the data set is not there.
    """
    match config:
        case OwnReader():
            return own.read(config, images)
        case SrRealReader():
            return sr_real.read(config, images)
        case SparReader():
            return spar.read(config, images)
        case OpenSpatialReader():
            return open_spatial.read(config, images)
        case Omni3DReader():
            return omni3d.read(config, images)
        case EmbodiedScanReader():
            return embodied_scan.read(config, images)
        case Ca1mReader():
            return ca1m.read(config, images)
        case HuggingFaceReader():
            return hugging_face.read(config, images)

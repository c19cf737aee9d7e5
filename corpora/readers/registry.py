"""All readers. A new reader is one line here: settings, dispatch, help and the table in docs/data.md follow."""

from typing import Annotated, get_args

from pydantic import Field

from corpora.readers.ca1m import Ca1mReader
from corpora.readers.embodied_scan import EmbodiedScanReader
from corpora.readers.hugging_face import HuggingFaceReader
from corpora.readers.native import NativeReader
from corpora.readers.omni3d import Omni3DReader
from corpora.readers.open_spatial import OpenSpatialReader
from corpora.readers.spar import SparReader
from corpora.readers.sr_real import SrRealReader

AnyReader = Annotated[
    NativeReader
    | SrRealReader
    | SparReader
    | OpenSpatialReader
    | Omni3DReader
    | EmbodiedScanReader
    | Ca1mReader
    | HuggingFaceReader,
    Field(discriminator="type"),
]
"""A reader, chosen by its `type`."""

READERS = get_args(get_args(AnyReader)[0])
"""The classes of all readers."""

READER_TYPES: tuple[str, ...] = tuple(reader.model_fields["type"].default for reader in READERS)

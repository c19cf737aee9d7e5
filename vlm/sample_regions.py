"""From a sample's regions to the model's tensors. Engine and learner both use this."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from torch import Tensor

from spatial.images import ImageStore
from spatial.sample import Mark, Region, SpatialSample, Thousandths
from spatial.strict import StrictModel
from vlm.hub.region_inputs import Geometry, RegionInputs
from vlm.hub.region_prompts import REGION
from vlm.region_geometry import geometry, pixels_inside
from vlm.region_position import back_project, position_features
from vlm.regions import region_label


class RegionSpec(NamedTuple):
    """One region, independent of how its image is resized. Plain numbers, because it is part of a cache key."""

    token_ids: tuple[int, ...]
    """The region's tokens, which follow its image's; the last is `<|region|>`."""
    shape: Geometry
    position: tuple[float, ...]
    """See `vlm.region_position.position_features`; empty if depth is unknown."""


class ClientRegion(StrictModel):
    """A region as a client of vLLM's own server writes it: `{"mark": "red", "box": [62, 104, 420, 688]}`."""

    mark: Mark
    """What the question calls it: "red" for "red point", "3" for "region 3"."""
    box: tuple[Thousandths, Thousandths, Thousandths, Thousandths]
    """Left, top, right, bottom in thousandths of the image's sides."""


def region_specs(
    regions: Sequence[Sequence[RegionSpec | Mapping[str, object]]], tokenizer: Callable[..., Mapping[str, list[int]]]
) -> tuple[tuple[RegionSpec, ...], ...]:
    """For each image its regions; those written by a client (`ClientRegion`) are converted.

    Raises:
        pydantic.ValidationError: what a client wrote is not a `ClientRegion`.
        ValueError: a region has no area, or the tokenizer has no region token.
    """

    def spec(region: RegionSpec | Mapping[str, object]) -> RegionSpec:
        if not isinstance(region, Mapping):
            return RegionSpec(*region)
        # Through JSON, because strict validation accepts lists as tuples only there.
        written = ClientRegion.model_validate_json(json.dumps(region))
        left, top, right, bottom = (side / 1000 for side in written.box)
        marked = Region(mark=written.mark, box_xyxy_px=(left, top, right, bottom))
        token_ids = tokenizer(region_label(marked) + REGION, add_special_tokens=False)["input_ids"]
        return RegionSpec(tuple(token_ids), ("box", left, top, right, bottom), ())

    return tuple(tuple(map(spec, own)) for own in regions)


def region_inputs(
    regions: Sequence[Sequence[RegionSpec]], image_grid_thw: Int[Tensor, "images 3"], merge_size: int
) -> RegionInputs:
    """The regions of several images as tensors; `regions` by image.

    Raises:
        ValueError: a region has no area, or the number of images differs.
    """
    shapes = [[region.shape for region in own] for own in regions]
    positions = [[region.position for region in own] for own in regions]
    return RegionInputs.of_shapes(shapes, positions, image_grid_thw, merge_size)


def positions_in_3d(
    sample: SpatialSample, image_index: int, shapes: Sequence[Geometry], images: ImageStore
) -> list[tuple[float, ...]]:
    """Position features of the regions of one image; empty if the sample has no depth map for it.

    Raises:
        FileNotFoundError: the depth map is not in the store.
        ValueError: the depth map's size is not what its sample says.
    """
    depth = sample.depths[image_index] if sample.depths else None
    if depth is None or not shapes:
        return [()] * len(shapes)
    depth_m = images.open_depth(depth)
    if depth.is_relative:
        depth_m = depth_m / np.nanmedian(depth_m)
    points = back_project(depth_m, sample.camera)
    return [position_features(points, pixels_inside(shape, depth.height_px, depth.width_px)) for shape in shapes]


def shapes_of(sample: SpatialSample, image_index: int) -> list[Geometry]:
    """The shapes of the regions of one image, in order."""
    return [geometry(region, sample.images[image_index]) for region in sample.regions_of(image_index)]

"""How clear an answer has to be before a question is asked."""

from typing import Annotated

from pydantic import Field

from spatial.strict import StrictModel

Share = Annotated[float, Field(ge=0, le=1)]


class Margins(StrictModel):
    """By how much two things must differ before a question compares them."""

    depth_share: Share = 0.1
    """Difference of two depths, as a share of their mean."""
    side_share: Share = 0.08
    """Left and right, above and below: difference in space as a share of the mean depth, and in the picture as a share
    of the focal length."""
    size_ratio: Annotated[float, Field(ge=1)] = 1.25
    """Longest side of the larger object over that of the smaller."""
    distance_share: Share = 0.2
    """Distance of two centres, as a share of their mean depth."""
    hour_deg: Annotated[float, Field(gt=0, lt=14)] = 11.0
    """Largest angle between a direction and the middle of its clock hour (half an hour is 15 degrees)."""
    rounding_share: Share = 0.03
    """Largest error, as a share, that writing a number with few decimals may cause."""
    max_overlap: Share = 0.5
    """Largest intersection over union of two marked boxes; above it, a reader may take one for the other."""

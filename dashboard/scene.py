"""A group's pictures: the image with regions and centres, and the same from above in metres."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go

from dashboard.groups import RecordedGroup
from dashboard.theme import MARK_COLOURS, Scheme, styled
from spatial.grammar import parse_response
from spatial.sample import Camera, Region, SpatialSample, Vector3

_UNKNOWN = "#868e96"
_HEIGHT_PX = 380


@dataclass(frozen=True)
class PredictedCenter:
    """A centre that a response predicts, in the camera frame."""

    member: int
    name: str
    center_m: Vector3
    colour: str


def predicted_centers(group: RecordedGroup) -> list[PredictedCenter]:
    """All centres of all responses, each in the colour of the region that it names."""
    return [
        PredictedCenter(response.member, box.name, box.center_m, _colour_of(box.name, group.sample.regions))
        for response in group.responses
        for box in parse_response(group.path, response.text).boxes
    ]


def _colour_of(name: str, regions: Sequence[Region]) -> str:
    return next((MARK_COLOURS[region.colour] for region in regions if region.is_named_in(name)), _UNKNOWN)


def image_figure(group: RecordedGroup, image_index: int, source: str, scheme: Scheme, chosen: int | None) -> go.Figure:
    """The image, its regions outlined, true centres as rings and predicted ones as crosses.

    Args:
        image_index: which of the sample's images.
        source: the image's address.
        chosen: the only member whose centres are shown; None: all.
    """
    sample = group.sample
    image = sample.images[image_index]
    figure = go.Figure()
    figure.add_layout_image(
        source=source, x=0, y=0, sizex=image.width_px, sizey=image.height_px,
        xref="x", yref="y", sizing="stretch", layer="below",
    )  # fmt: skip
    for region in sample.regions_of(image_index):
        figure.add_scatter(**_outline(region), showlegend=False)
    # Centres are in the frame of the one camera that is known.
    if sample.camera is not None and len(sample.images) == 1:
        _add_centers(figure, _true_pixels(sample), _predicted_pixels(group, chosen))
    styled(figure, scheme, _HEIGHT_PX, "What the model saw" + _of(image_index, len(sample.images)))
    figure.update_xaxes(range=[0, image.width_px], visible=False, constrain="domain")
    figure.update_yaxes(range=[image.height_px, 0], visible=False, scaleanchor="x", constrain="domain")
    figure.update_layout(hovermode="closest", margin={"l": 6, "r": 6, "b": 6})
    return figure


def above_figure(group: RecordedGroup, scheme: Scheme, chosen: int | None) -> go.Figure | None:
    """Centres from above: x to the right, z ahead, metres, the camera at the origin; None if there are no centres."""
    true = [(region, region.center_m) for region in group.sample.regions if region.center_m is not None]
    predicted = [center for center in predicted_centers(group) if chosen in (None, center.member)]
    if not true and not predicted:
        return None
    figure = go.Figure()
    for center in predicted:
        wanted = next((at for region, at in true if region.is_named_in(center.name)), None)
        if wanted is not None:
            figure.add_scatter(
                x=[wanted[0], center.center_m[0]],
                y=[wanted[2], center.center_m[2]],
                mode="lines",
                line={"color": center.colour, "width": 1},
                opacity=0.5,
                showlegend=False,
                hoverinfo="skip",
            )
    _add_centers(
        figure,
        [(center[0], center[2], MARK_COLOURS[region.colour], _true_label(region)) for region, center in true],
        [(one.center_m[0], one.center_m[2], one.colour, _predicted_label(one)) for one in predicted],
    )
    figure.add_scatter(
        x=[0], y=[0], mode="markers", marker={"symbol": "triangle-up", "size": 12, "color": _UNKNOWN},
        name="camera", hovertemplate="camera<extra></extra>",
    )  # fmt: skip
    styled(figure, scheme, _HEIGHT_PX, "From above")
    # The camera and all centres are in view; the width equals the depth.
    places = [center for _, center in true] + [one.center_m for one in predicted]
    far_m = 1.15 * max([z for _, _, z in places] + [2 * abs(x) for x, _, _ in places])
    figure.update_xaxes(title="right, m", range=[-far_m / 2, far_m / 2], constrain="domain")
    figure.update_yaxes(title="ahead, m", range=[-0.06 * far_m, far_m], scaleanchor="x", constrain="domain")
    figure.update_layout(hovermode="closest")
    return figure


Placed = tuple[float, float, str, str]
"""x, y, colour, the text on hover."""


def _add_centers(figure: go.Figure, true: Sequence[Placed], predicted: Sequence[Placed]) -> None:
    for placed, name, symbol, size_px, width_px in (
        (predicted, "predicted", "x-thin", 10, 2),
        (true, "true", "circle-open", 18, 3),
    ):
        if placed:
            x, y, colours, labels = zip(*placed, strict=True)
            figure.add_scatter(
                x=x,
                y=y,
                mode="markers",
                name=name,
                text=labels,
                # Thin and open symbols are drawn with their line only.
                marker={
                    "symbol": symbol,
                    "size": size_px,
                    "color": colours,
                    "line": {"width": width_px, "color": colours},
                },
                hovertemplate="%{text}<extra></extra>",
            )


def _outline(region: Region) -> dict[str, object]:
    left, top, right, bottom = region.box_xyxy_px
    corners = region.polygon_px or ((left, top), (right, top), (right, bottom), (left, bottom))
    x, y = zip(*corners, corners[0], strict=True)
    colour = MARK_COLOURS[region.colour]
    # Text from the data and the model: plotly would read tags in it as markup.
    label = escape(f"{region.label}: {region.name}" if region.name else region.label)
    return {
        "x": x, "y": y, "mode": "lines", "line": {"color": colour, "width": 2}, "name": label,
        "hovertemplate": f"{label}<extra></extra>",
    }  # fmt: skip


def _true_pixels(sample: SpatialSample) -> list[Placed]:
    return _placed(
        (region.center_m, MARK_COLOURS[region.colour], _true_label(region), sample.camera)
        for region in sample.regions
        if region.center_m is not None
    )


def _predicted_pixels(group: RecordedGroup, chosen: int | None) -> list[Placed]:
    return _placed(
        (one.center_m, one.colour, _predicted_label(one), group.sample.camera)
        for one in predicted_centers(group)
        if chosen in (None, one.member)
    )


def _placed(points: Iterable[tuple[Vector3, str, str, Camera | None]]) -> list[Placed]:
    return [
        (*pixel, colour, label)
        for center_m, colour, label, camera in points
        if camera is not None and (pixel := camera.project(center_m)) is not None
    ]


def _true_label(region: Region) -> str:
    return f"true {region.label} {_metres(region.center_m or (0, 0, 0))}"


def _predicted_label(predicted: PredictedCenter) -> str:
    return f"response {predicted.member} {escape(predicted.name)} {_metres(predicted.center_m)}"


def _metres(center_m: Vector3) -> str:
    return "({:.2f}, {:.2f}, {:.2f}) m".format(*center_m)


def _of(index: int, number: int) -> str:
    return f", image {index + 1} of {number}" if number > 1 else ""

"""What every family's processor does beside the family's own work: it takes regions, and knows each path's prompt.

processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
red = {"mark": "red", "box": [125, 250, 750, 875]}  # thousandths of the image's sides: left, top, right, bottom
inputs = processor.ask("How far is the red point from the camera, in metres?", [image], [[red]], path="dtr")
tokens = model.generate(**inputs, max_new_tokens=512)
print(processor.answer(inputs, tokens))
"""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageOps

from .image_sizes import resized
from .region_inputs import REGION_TENSORS, RegionInputs
from .region_prompts import REGION, ShownRegion, describe_boxes, describe_points, draw_marks, token_label

COLOURS = ("red", "blue", "green", "yellow", "cyan", "magenta", "orange", "white")
_DESCRIBE = {"tokens": lambda regions, num_images, grid: "", "marks": describe_boxes, "points": describe_points}


def as_shown(image: Image.Image) -> Image.Image:
    """The pixels that the model was trained on, and that viewers show: upright, with transparent parts in white."""
    image = ImageOps.exif_transpose(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    opaque = Image.new("RGB", image.size, "white")
    opaque.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return opaque


def read_region(region: Mapping[str, Any], image_size_px: tuple[int, int], image_index: int) -> ShownRegion:
    """A region in the form that people write: `{"mark": "red", "box": [125, 250, 750, 875]}`, the box in thousandths.

    Raises:
        ValueError: its mark is neither a colour in `COLOURS` nor a number, or its box has no area within the image.
    """
    mark, box = str(region.get("mark")), region.get("box")
    if mark not in COLOURS and not mark.isdigit():
        raise ValueError(f"region {dict(region)}: mark must be one of {', '.join(COLOURS)}, or a number from 1")
    if not isinstance(box, Sequence) or len(box) != 4:
        raise ValueError(f"region {mark}: box must be [left, top, right, bottom] in thousandths, not {box!r}")
    left, top, right, bottom = (float(side) / 1000 for side in box)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(f"region {mark}: box {list(box)} has no area within 0 to 1000 (left < right, top < bottom)")
    width, height = image_size_px
    return ShownRegion(
        label=f"region {mark}" if mark.isdigit() else f"{mark} point",
        colour=COLOURS[(int(mark) - 1) % len(COLOURS)] if mark.isdigit() else mark,
        box_xyxy_px=(left * width, top * height, right * width, bottom * height),
        image_size_px=image_size_px,
        image_index=image_index,
    )


class ProcessorWithRegions:
    """List it before the family's own processor in the bases.

    `paths` holds for each reasoning path its `instruction` and the style of its `regions` ("tokens", "marks",
    "points"); coordinates in prompts run from 0 to `coordinate_grid`; drawn boxes are `mark_width_px` wide, and with
    `marks_after_resizing` they are drawn on the image as the model sees it.
    """

    # The arguments are spelled out, because transformers reads the components of a processor from this signature.
    def __init__(
        self: Any,
        image_processor: Any = None,
        tokenizer: Any = None,
        video_processor: Any = None,
        chat_template: Any = None,
        paths: Any = None,
        coordinate_grid: int = 1000,
        mark_width_px: int = 2,
        marks_after_resizing: bool = False,
        **kwargs: Any,
    ) -> None:
        parent: Any = super()
        parent.__init__(image_processor, tokenizer, video_processor, chat_template=chat_template, **kwargs)
        self.paths = dict(paths or {})
        self.coordinate_grid = coordinate_grid
        self.mark_width_px = mark_width_px
        self.marks_after_resizing = marks_after_resizing

    def __call__(self: Any, images: Any = None, text: Any = None, regions: Any = None, **kwargs: Any) -> Any:
        """As the parent's call; `regions` holds the regions of each image, in the order of the images in `text`.

        Raises:
            ValueError: `regions` and `text` have different numbers of images, or a region cannot be read.
        """
        parent: Any = super()
        if not regions:
            return parent.__call__(images=images, text=text, **kwargs)
        texts = [text] if isinstance(text, str) else list(text)
        num_images = sum(part.count(self.image_token) for part in texts)
        if len(regions) != num_images:
            raise ValueError(f"regions are given for {len(regions)} images, but the text shows {num_images}")
        # Tokens do not depend on the size: their boxes are fractions of the sides.
        shown = [[read_region(region, (1, 1), index) for region in own] for index, own in enumerate(regions)]
        tokens = iter("".join(token_label(region.label) + REGION for region in own) for own in shown)
        texts = [
            part.split(self.image_token)[0]
            + "".join(self.image_token + next(tokens) + rest for rest in part.split(self.image_token)[1:])
            for part in texts
        ]
        kwargs.setdefault("return_tensors", "pt")
        inputs = parent.__call__(images=images, text=texts, **kwargs)
        shapes: list[list[tuple[Any, ...]]] = [[("box", *region.box_shares) for region in own] for own in shown]
        unknown: list[list[tuple[float, ...]]] = [[()] * len(own) for own in shown]
        merge_size = self.image_processor.merge_size
        tensors = RegionInputs.of_shapes(shapes, unknown, inputs["image_grid_thw"], merge_size)
        inputs.update({name: getattr(tensors, field) for name, field in REGION_TENSORS.items()})
        return inputs

    def ask(
        self: Any,
        question: str,
        images: Sequence[Any],
        regions: Sequence[Sequence[Mapping[str, Any]]] = (),
        path: str = "lor",
    ) -> Any:
        """One question in the form that the model was trained on: with the path's instruction and style of regions.

        Args:
            question: names regions by their marks ("red point", "region 3").
            images: PIL images; regions refer to them as a viewer shows them, upright.
            regions: the regions of each image; empty: none.
            path: "lor" (reason in words), "dtr" (detect, then reason) or "direct" (only the answer).

        Returns:
            The inputs of `model.generate`.

        Raises:
            ValueError: the path is unknown, or a region cannot be read.
        """
        if path not in self.paths:
            raise ValueError(f"path={path!r}: this model was trained on {', '.join(self.paths) or 'no path'}")
        images = [as_shown(image) for image in images]
        regions = regions or [()] * len(images)
        if len(regions) != len(images):
            raise ValueError(f"regions are given for {len(regions)} images, but there are {len(images)}")
        prompt = self.paths[path]
        is_resized = prompt["regions"] == "marks" and self.marks_after_resizing
        if is_resized:
            images = [resized(image, self.image_processor) for image in images]
        shown = [
            [read_region(region, image.size, index) for region in own]
            for index, (image, own) in enumerate(zip(images, regions, strict=True))
        ]
        if prompt["regions"] == "marks":
            images = [draw_marks(image, own, self.mark_width_px) for image, own in zip(images, shown, strict=True)]
        where = _DESCRIBE[prompt["regions"]](
            [region for own in shown for region in own], len(images), self.coordinate_grid
        )
        words = " ".join(filter(None, [question, where, prompt["instruction"]]))
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": words}]
        text = self.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        has_tokens = prompt["regions"] == "tokens" and any(shown)
        settings = {"do_resize": False} if is_resized else {}
        return self(
            images=images, text=[text], regions=regions if has_tokens else None, return_tensors="pt", **settings
        )

    def answer(self: Any, inputs: Any, generated: Any) -> str:
        """The text that `model.generate(**inputs)` wrote, without the prompt and the end token."""
        return self.tokenizer.decode(generated[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)

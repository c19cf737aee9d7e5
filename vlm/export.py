"""What is written beside an exported model: its prompt settings, and how to run it."""

from pathlib import Path
from typing import Any

from spatial.sample import ReasoningPath
from vlm.config import PromptConfig
from vlm.model_folders import knows_regions, load_processor
from vlm.shown_images import limits_of, set_limits

PROMPT_FILE = "sr_real_prompt.json"
"""The prompt settings that the model was trained with."""


def describe_model(folder: Path, prompt: PromptConfig) -> None:
    """Write `sr_real_prompt.json`, the processor's settings and a model card into an exported model's folder."""
    (folder / PROMPT_FILE).write_text(prompt.model_dump_json(indent=1) + "\n")
    is_regional = knows_regions(folder)
    if is_regional or prompt.has_pixel_budget:
        processor = load_processor(folder)
        if is_regional:
            processor.paths = prompts_of(prompt)
            processor.coordinate_grid = prompt.coordinate_grid
            processor.mark_width_px = prompt.mark_width_px
            processor.marks_after_resizing = prompt.has_pixel_budget
        if prompt.has_pixel_budget:
            # Its own limits are those of the model that training started from.
            set_limits(processor.image_processor, limits_of(processor.image_processor).within(prompt))
        processor.save_pretrained(folder)
    (folder / "README.md").write_text(_card(prompt, _REGIONAL if is_regional else _PLAIN))


def describe_adapter(folder: Path, prompt: PromptConfig) -> None:
    """Write `sr_real_prompt.json` and a card beside exported adapters."""
    (folder / PROMPT_FILE).write_text(prompt.model_dump_json(indent=1) + "\n")
    (folder / "README.md").write_text(_card(prompt, _ADAPTER))


def prompts_of(prompt: PromptConfig) -> dict[str, dict[str, Any]]:
    """For each path its instruction, and how its regions are shown."""
    return {
        path.value: {"instruction": prompt.instruction(path), "regions": prompt.regions_for(path)}
        for path in ReasoningPath
    }


def read_prompt(folder: Path) -> PromptConfig | None:
    """The prompt settings that a model was trained with; None if its folder does not have them."""
    file = folder / PROMPT_FILE
    return PromptConfig.model_validate_json(file.read_text()) if file.is_file() else None


def _card(settings: PromptConfig, how_to_load: str) -> str:
    rows = "\n".join(
        f"| `{path}` | {prompt['regions']} | {prompt['instruction'].replace(chr(10), ' ')} |"
        for path, prompt in prompts_of(settings).items()
    )
    budget = _BUDGET if settings.has_pixel_budget else ""
    return (_HEAD + how_to_load + _PATHS + budget).format(rows=rows)


_HEAD = """---
library_name: transformers
pipeline_tag: image-text-to-text
---
A spatial vision-language model trained with sr-real. It reasons along the paths below.

"""
_REGIONAL = """It reads marked regions as tokens, with the code in this folder:

```python
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

folder = "…"  # this folder
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)

red = {{"mark": "red", "box": [125, 250, 750, 875]}}  # left, top, right, bottom in thousandths of the image's sides
question = "How far is the red point from the camera, in metres?"
inputs = processor.ask(question, [Image.open("room.jpg")], [[red]], path="dtr")
print(processor.answer(inputs, model.generate(**inputs, max_new_tokens=512)))
```

With sr-real installed beside vLLM, `vllm serve FOLDER --trust-request-mm-kwargs` serves it, regions included.
"""
_PLAIN = """An ordinary model folder of its family: load it with `AutoModelForImageTextToText` and `AutoProcessor`.
"""
_ADAPTER = """These are its adapters (LoRA). They belong to the model that adapter_config.json names:

```python
from peft import PeftModel
from transformers import AutoModelForImageTextToText

base = AutoModelForImageTextToText.from_pretrained("…", trust_remote_code=True)
model = PeftModel.from_pretrained(base, "…")  # the second is this folder
```
"""
_PATHS = """
| path | regions in the prompt | instruction after the question |
|---|---|---|
{rows}
"""
_BUDGET = """
The processor resizes images as in training. Where regions are marks, they were drawn on the resized image.
"""

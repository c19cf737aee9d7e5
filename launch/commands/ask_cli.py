"""`sr-real ask`: a question about a picture."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from launch.commands.options import console
from launch.settings.config import ConfigError
from spatial.sample import ReasoningPath, SpatialSample

if TYPE_CHECKING:
    from spatial.images import ImageStore


def ask(
    image: Annotated[Path, typer.Argument(help="The picture: PNG, JPEG, WebP, …")],
    question: Annotated[str, typer.Argument(help='Refers to regions by their marks: "How far is the red point?"')],
    region: Annotated[
        list[str] | None,
        typer.Option("--region", "-r", help="red=LEFT,TOP,RIGHT,BOTTOM in pixels; red@2=… in image 2. Repeatable."),
    ] = None,
    more: Annotated[list[Path] | None, typer.Option("--image", help="Another picture. Repeat for more.")] = None,
    model: Annotated[
        Path, typer.Option("--model", "-m", help="A model's folder, or a run's folder, whose newest model is used.")
    ] = Path("runs/demo"),
    path: Annotated[
        list[ReasoningPath] | None,
        typer.Option("--path", help="Reasoning path. Repeat for several. Default: lor, plus dtr if regions are given."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help="File to draw the answer to. Default: answer.png, numbered if that exists."),
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest response, in tokens.")] = 512,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, help="Sampling temperature; 0 always takes the most likely token.")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON with the responses, for programs.")] = False,
) -> None:
    """Ask a trained model about a picture, by one or both paths, and draw what it detected.

    Example: sr-real ask room.jpg --region red=120,80,300,260 "How far is the red point from the camera, in metres?"
    """
    from launch.run.ask import draw_answer, find_model, fresh_name, make_sample, show_response
    from spatial.grammar import parse_response
    from spatial.images import ImageStore

    folder = find_model(model)
    regions = region or []
    paths = path or [ReasoningPath.LOR, *([ReasoningPath.DTR] if regions else [])]
    with TemporaryDirectory() as scratch:
        images = ImageStore(Path(scratch))
        sample = make_sample([image, *(more or [])], question, regions, images)
        responses = _answers(folder, sample, images, list(dict.fromkeys(paths)), max_tokens, temperature)
        if as_json:
            print(json.dumps({path.value: response for path, response in responses.items()}))
            parsed = {path: parse_response(path, response) for path, response in responses.items()}
        else:
            parsed = {path: show_response(path, response, console) for path, response in responses.items()}
        if picture is not None or not as_json:
            file = picture or fresh_name(Path("answer.png"))
            draw_answer(sample, images, parsed, file)
            if not as_json:
                console.print(f"drawn: {file}", highlight=False, style="dim", soft_wrap=True)


def _answers(
    folder: Path,
    sample: SpatialSample,
    images: "ImageStore",
    paths: list[ReasoningPath],
    max_tokens: int,
    temperature: float,
) -> dict[ReasoningPath, str]:
    """The response of the model in `folder` on each path."""
    import torch
    from transformers.utils import logging

    from vlm.asker import Asker
    from vlm.config import PromptConfig
    from vlm.export import read_prompt

    logging.disable_progress_bar()
    prompt = read_prompt(folder)
    if prompt is None:
        console.print(
            f"[yellow]{folder} does not record its prompt format: using full instructions and drawn regions[/]"
        )
        prompt = PromptConfig(regions="marks")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with console.status(f"asking {folder}"):
        asker = Asker(folder, images, prompt, device)
        if unknown := sorted({word for path in paths for word in asker.unknown_words(sample, path)}):
            raise ConfigError(
                f"{folder}: its tokenizer only knows whole words, and not {', '.join(map(repr, unknown))}; "
                "use the words of its data, such as those of the questions in RUN/data/test.jsonl"
            )
        return {path: asker.answer(sample, path, max_tokens, temperature) for path in paths}

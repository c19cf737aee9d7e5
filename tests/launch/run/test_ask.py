"""`sr-real ask`: what is asked, of which model, and what is shown."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from launch.commands.cli import app
from launch.run.ask import draw_answer, find_model, fresh_name, make_sample, read_region, show_response
from launch.settings.config import ConfigError
from spatial.images import ImageStore
from spatial.sample import ReasoningPath
from vlm.config import PromptConfig, TinyModelConfig
from vlm.export import describe_model
from vlm.tiny import build_tiny_checkpoint

TINY = TinyModelConfig(image_size_px=64, vision_layers=1, vision_width=32, text_layers=1, text_width=32, num_heads=2)
DETECTED = (
    '<detect>Find 1 relevant objects:\n<3d_box center="0.30,0.40,1.20">cube (red point)</3d_box></detect>'
    "<think>it is near.</think><answer>1.30 m</answer>"
)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "room.png"
    Image.new("RGB", (64, 64), (90, 120, 60)).save(file)
    return file


def test_a_region_is_a_mark_and_a_box_in_pixels() -> None:
    region = read_region("red=12,8,30.5,26", [(64, 48)])
    assert (region.mark, region.image_index, region.box_xyxy_px) == ("red", 0, (12.0, 8.0, 30.5, 26.0))
    assert read_region("3@2=0,0,64,48", [(10, 10), (64, 48)]).image_index == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("red", "write red=LEFT,TOP,RIGHT,BOTTOM"),
        ("red=1,2,3", "write red=LEFT,TOP,RIGHT,BOTTOM"),
        ("pink=1,2,3,4", "the mark must be a number or one of red"),
        ("red@2=1,2,3,4", "there is no image 2; 1 given"),
        ("red=30,2,3,4", "left < right"),
        ("red=0,0,65,4", "64 × 48 pixels"),
        ("red=0.1,0.1,0.5,0.5", "give pixels"),
    ],
)
def test_a_region_that_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_region(text, [(64, 48)])


def test_a_picture_that_a_phone_turned_is_asked_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    Image.new("RGB", (40, 20)).save(tmp_path / "phone.jpg", exif=exif)
    sample = make_sample([tmp_path / "phone.jpg"], "How far?", [], ImageStore(tmp_path / "store"))
    assert (sample.images[0].width_px, sample.images[0].height_px) == (20, 40)


def test_a_mark_that_is_given_twice_is_refused(picture: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a mark is used twice"):
        make_sample([picture], "How far?", ["red=0,0,9,9", "red=1,1,8,8"], ImageStore(tmp_path / "store"))


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ConfigError, match=r"notes\.txt: cannot be read as an image"):
        make_sample([tmp_path / "notes.txt"], "How far?", [], ImageStore(tmp_path / "store"))


@pytest.mark.parametrize(
    ("question", "message"), [("", "at least 1 character"), ("Where is <|image_pad|>?", "ordinary words")]
)
def test_a_question_that_cannot_be_asked_is_told(picture: Path, tmp_path: Path, question: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_sample([picture], question, [], ImageStore(tmp_path / "store"))


def test_a_picture_that_no_processor_takes_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (900, 3)).save(tmp_path / "thin.png")
    with pytest.raises(ConfigError, match=r"thin\.png.*200 times"):
        make_sample([tmp_path / "thin.png"], "Where?", [], ImageStore(tmp_path / "store"))


def test_of_a_run_its_newest_model_answers(tmp_path: Path) -> None:
    def make(name: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")

    with pytest.raises(ConfigError, match=r"--model .*: there is no such folder"):
        find_model(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"--model .* is not a model folder"):
        find_model(tmp_path)
    make("cold_start_model")
    assert find_model(tmp_path) == tmp_path / "cold_start_model"
    make("final_model")
    assert find_model(tmp_path) == tmp_path / "final_model"
    assert find_model(tmp_path / "cold_start_model") == tmp_path / "cold_start_model"


def test_an_earlier_picture_stays(tmp_path: Path) -> None:
    (tmp_path / "answer.png").touch()
    (tmp_path / "answer-2.png").touch()
    assert fresh_name(tmp_path / "answer.png") == tmp_path / "answer-3.png"


def test_detected_centres_are_shown_with_their_distance_and_drawn(picture: Path, tmp_path: Path) -> None:
    out = io.StringIO()
    parsed = show_response(ReasoningPath.DTR, DETECTED, Console(file=out, width=120))
    assert "cube (red point)" in out.getvalue()
    assert "1.30 │" in out.getvalue()  # √(0.3² + 0.4² + 1.2²)
    assert "DTR answers: 1.30 m" in out.getvalue()
    store = ImageStore(tmp_path / "store")
    sample = make_sample([picture], "How far is the red point?", ["red=8,8,40,40"], store)
    draw_answer(sample, store, {ReasoningPath.DTR: parsed}, tmp_path / "with.png")
    draw_answer(sample, store, {}, tmp_path / "without.png")
    # The map from above stands beside the picture.
    assert Image.open(tmp_path / "with.png").width == 2 * Image.open(tmp_path / "without.png").width


def test_a_response_in_no_format_is_shown_as_it_is_written() -> None:
    out = io.StringIO()
    show_response(ReasoningPath.LOR, "perhaps [2] m", Console(file=out, width=120))
    assert "not in the path's format" in out.getvalue()
    assert "perhaps [2] m" in out.getvalue()


def test_a_model_answers_along_both_paths_from_the_command_line(picture: Path, tmp_path: Path) -> None:
    texts = ["How far is the red point?", "<think></think> red point: blue point: detect think answer language [0,1]"]
    build_tiny_checkpoint(tmp_path / "model", texts, TINY, seed=0)
    describe_model(tmp_path / "model", PromptConfig(instructions="short", lor_regions="marks"))
    options = ["--region", "red=8,8,40,40", "--model", str(tmp_path / "model"), "--max-tokens", "6"]
    drawn = tmp_path / "drawn.png"
    command = ["ask", str(picture), "How far is the red point?", *options, "--picture", str(drawn), "--json"]
    first, second = CliRunner().invoke(app, command), CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert set(json.loads(first.stdout.splitlines()[-1])) == {"lor", "dtr"}
    assert first.stdout == second.stdout  # greedily: the same each time
    assert np.asarray(Image.open(drawn)).std() > 0
    unknown = CliRunner().invoke(app, ["ask", str(picture), "How gargantuan is it?", *options])
    assert "not ' gargantuan'" in str(unknown.exception)

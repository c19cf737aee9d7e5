"""The page of an evaluation: it holds everything, and whatever a model wrote stays text."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from evaluation.page import MAX_EXAMPLES, chosen_examples, render_page, write_page
from evaluation.report import Report, compare_reports, make_report
from evaluation.responses import Response, Responses
from spatial.images import ImageStore
from spatial.sample import ReasoningPath
from tests.evaluation.exams import SETTINGS, answered, make_exam, make_question, stored_image

HOSTILE = """<script>alert(1)</script><img src=x onerror="alert(2)"></pre></style><svg/onload=alert(3)>
<answer>"'><script src=//evil.example/x.js></script></answer> {{ 7 * 7 }} {% raw %}"""


class Elements(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(text: str, tmp_path: Path, path: ReasoningPath = ReasoningPath.LOR) -> tuple[str, Elements]:
    """The page about one question that was answered with `text`."""
    exam = make_exam(make_question(f"q {text}", f"task {text}", stored_image(tmp_path), text=f"What? {text}"))
    asked = Responses({path: 1}, (Response(f"q {text}", path, 0, True, text),), (), 1.0)
    results = make_report(exam, asked, f"model {text}", SETTINGS)
    page = render_page(results, exam, ImageStore(tmp_path))
    return page, Elements(page)


def test_a_response_full_of_script_stays_text(tmp_path: Path) -> None:
    page, elements = page_of(HOSTILE, tmp_path)
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"script", "img", "iframe", "object", "embed", "link", "base", "form"}
    names = {name for _, attributes in elements.found for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    assert HOSTILE in elements.text
    assert "<script" not in page


def test_the_pages_policy_forbids_all_but_its_own_style_and_pictures(tmp_path: Path) -> None:
    page, elements = page_of("<answer>A</answer>", tmp_path)
    (policy,) = [a["content"] for tag, a in elements.found if a.get("http-equiv") == "Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    # Nothing is fetched: whatever names a resource holds it.
    sources = [a[key] for tag, a in elements.found for key in ("src", "href", "srcset") if key in a]
    assert sources
    assert all(source is not None and source.startswith("data:image/webp;base64,") for source in sources)
    assert not any("style" in attributes for _, attributes in elements.found)  # the policy refuses those


def test_a_sample_shows_its_image_regions_true_and_said_centres(tmp_path: Path) -> None:
    detect = '<detect>Find 1 relevant objects:\n<3d_box center="0.10,0.00,2.00">cube (red point)</3d_box></detect>'
    _, elements = page_of(f"{detect}<think>so</think><answer>A</answer>", tmp_path, ReasoningPath.DTR)
    (outline,) = [a for tag, a in elements.found if tag == "polygon"]
    assert (outline["points"], outline["stroke"]) == ("8,8 24,8 24,24 8,24", "red")
    (ring,) = [a for tag, a in elements.found if tag == "circle"]
    assert (ring["cx"], ring["cy"]) == ("32.0", "24.0")  # straight ahead: the middle
    (cross,) = [a["d"] for tag, a in elements.found if tag == "path"]
    # 60·0.1/2 + 32 = 35, less an arm of three lines.
    assert cross is not None
    assert cross.startswith(f"M {35 - 3 * 0.444}")


def test_an_image_that_is_gone_and_an_empty_evaluation_are_said(tmp_path: Path) -> None:
    exam = make_exam(make_question("q0"))
    results = make_report(exam, answered({"q0": "A"}), "model", SETTINGS)
    assert "an image is not in the store" in render_page(results, exam, ImageStore(tmp_path))
    nothing = make_report(exam, answered({"q0": None}), "model", SETTINGS)
    page = render_page(nothing, exam, ImageStore(tmp_path))
    assert "No question was answered" in page
    assert "engine on fire" in page


def many(letter_of: str) -> tuple[Report, list[str]]:
    names = [f"q{number}" for number in range(len(letter_of))]
    exam = make_exam(*(make_question(name, f"task{number % 5}") for number, name in enumerate(names)))
    return make_report(exam, answered(dict(zip(names, letter_of, strict=True))), "model", SETTINGS), names


def test_examples_are_few_of_each_task_right_and_wrong() -> None:
    results, _ = many("AAAAAAAAAB" * 40)  # of the fifth task every second is wrong, and no other
    examples = chosen_examples(results.responses)
    assert len(examples) == MAX_EXAMPLES
    by_pile = {(e.task, e.score) for e in examples}
    assert by_pile == {("task4", 0.0)} | {(f"task{number}", 1.0) for number in range(5)}
    assert sum(e.score == 0.0 for e in examples) == 6


def test_figures_intervals_and_comparisons_are_on_the_page(tmp_path: Path) -> None:
    exam = make_exam(*(make_question(f"q{number}") for number in range(20)))
    letters = ["A" if number < 10 else "B" for number in range(20)]
    before = make_report(exam, answered({f"q{n}": letter for n, letter in enumerate(letters)}), "before", SETTINGS)
    after = make_report(exam, answered({f"q{n}": "A" for n in range(20)}), "after", SETTINGS)
    after = after.replace(comparisons=compare_reports(exam, before, after))
    write_page(tmp_path / "page.html", after, exam, ImageStore(tmp_path))
    text = " ".join(Elements((tmp_path / "page.html").read_text()).text.split())
    assert "overall100.0 [86.1, 100.0]" in text.replace("overall 100", "overall100")
    assert "minus before, on 20 shared questions; right here alone 10, right there alone 0" in text
    assert "McNemar p 0.002" in text
    assert "+50.0" in text

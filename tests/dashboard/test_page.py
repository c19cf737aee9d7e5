"""The page in a browser: of a run that ended, and of one that is under way."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard.active import ActiveRun
from dashboard.board import Board
from dashboard.config import DashboardConfig
from dashboard.run_view import RunView
from dashboard.server import DashboardServer
from dashboard.views import VIEWS
from tests.cluster.conftest import LiveRun
from tests.dashboard.run_on_disk import SCRIPT, write_run
from tests.dashboard.test_showing import FakeControls

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

Open = Callable[..., Page]
Serve = Callable[..., DashboardServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[DashboardServer] = []

    def start(root: Path, live: FakeControls | None = None) -> DashboardServer:
        view = RunView(root, ActiveRun(live) if live else None)
        server = DashboardServer(Board({view.name: view}), DashboardConfig())
        servers.append(server)
        Thread(target=server.run, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.close()


def open_group(page: Page, number: int) -> None:
    page.get_by_role("tab", name="Samples").click()
    page.locator("#groups button").nth(number).click()
    page.locator("#group .js-plotly-plot").first.wait_for()


def _until(page: Page, condition: str) -> None:
    """As `wait_for_function`, which polls by `eval`, and the page's policy forbids that."""
    for _ in range(300):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"not within 30 s: {condition}")


def test_a_run_that_ended_opens_and_a_sample_shows_its_centres(tmp_path: Path, serve: Serve, open_page: Open) -> None:
    page = open_page(serve(write_run(tmp_path / "run").root).place.url)
    expect(page.locator("#sentence")).to_have_text("It ended after 3 steps.")
    page.get_by_role("tab", name="Curves").click()
    # Of what was measured, and of nothing else.
    expect(page.locator("#react-entry-point .js-plotly-plot").filter(has_text="Reward").first).to_be_visible()
    expect(page.locator(".js-plotly-plot").filter(has_text="Gradient norm")).to_be_hidden()
    open_group(page, 0)
    expect(page.locator("#group").get_by_text("Response 1", exact=True)).to_be_visible()
    figures = page.locator("#pictures .js-plotly-plot")
    expect(figures).to_have_count(2)
    names = figures.evaluate_all("plots => plots.map(plot => plot.data.map(trace => trace.name))")
    assert {"true", "predicted", "red point: cube", "blue point: cone"} <= set(names[0])
    assert {"true", "predicted", "camera"} <= set(names[1])
    seen = page.locator("#pictures image").first.get_attribute("href") or ""
    assert seen.startswith("data:image/png") or "/image/" in seen
    # Of one response alone: two centres rather than four.
    page.locator("#group label").filter(has_text=re.compile("^1$")).click()
    _until(
        page,
        "() => { const traces = document.querySelector('#pictures .js-plotly-plot').data;"
        " return traces.find(t => t.name == 'predicted')?.x.length == 2 }",
    )


def test_a_response_full_of_script_is_shown_as_text(tmp_path: Path, serve: Serve, open_page: Open) -> None:
    page = open_page(serve(write_run(tmp_path / "run", 1, think=SCRIPT).root).place.url)
    open_group(page, 1)
    expect(page.locator("#group").get_by_text("<script>document.title='owned'</script>").first).to_be_visible()
    assert page.title() == "run · sr-real"


def test_a_page_says_that_nobody_answers_it_any_more(tmp_path: Path, serve: Serve, browser: Browser) -> None:
    server = serve(write_run(tmp_path / "run", 1).root, FakeControls())
    with browser.new_page() as page:
        page.goto(server.place.url)
        expect(page.locator("#sentence")).not_to_be_empty()
        page.wait_for_timeout(3000)
        expect(page.get_by_text("No answer from this page's server")).to_be_hidden()
        server.close()
        expect(page.get_by_text("No answer from this page's server")).to_be_visible()


def test_a_response_of_ten_megabytes_does_not_stop_the_page(tmp_path: Path, serve: Serve, open_page: Open) -> None:
    page = open_page(serve(write_run(tmp_path / "run", 1, think="so " * 3_400_000).root).place.url)
    open_group(page, 1)
    expect(page.locator("#group").get_by_text("more characters").first).to_be_visible()


def test_it_fits_a_phone_and_the_dark(tmp_path: Path, serve: Serve, open_page: Open) -> None:
    live = FakeControls()
    page = open_page(serve(write_run(tmp_path / "run").root, live).place.url, width_px=390, scheme="dark")
    for view in VIEWS:
        page.get_by_role("tab", name=view.title).click()
        page.wait_for_timeout(1500)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{view.title} is {width} px wide"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"


def test_it_works_without_a_mouse(tmp_path: Path, serve: Serve, open_page: Open) -> None:
    page = open_page(serve(write_run(tmp_path / "run").root).place.url)
    page.get_by_role("tab", name="Now").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    row = page.locator("#groups button").first
    row.wait_for()
    row.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#pictures .js-plotly-plot").first).to_be_visible()


@pytest.mark.stack
def test_a_run_under_way_moves_and_its_page_adds_a_worker(model: Path, tmp_path: Path, open_page: Open) -> None:
    with LiveRun(tmp_path / "run", model) as run:
        run.until((run.folder / "dashboard.json").exists, "its page")
        place = json.loads((run.folder / "dashboard.json").read_text())
        assert (run.folder / "dashboard.json").stat().st_mode & 0o077 == 0
        assert place["token"] not in run.log
        page = open_page(f"{place['url']}?token={place['token']}")
        expect(page.locator("#sentence")).to_contain_text("1 of 1 rollout workers are serving")
        page.get_by_role("tab", name="Curves").click()
        # As drawn: `data` keeps numbers as they were sent, in base64.
        points = "() => document.querySelector('.js-plotly-plot')?._fullData?.[0]?.x?.length || 0"
        run.until(lambda: page.evaluate(points) > 0, "a curve")
        before = page.evaluate(points)
        run.until(lambda: page.evaluate(points) > before, "the curve goes on")
        page.get_by_role("tab", name="Workers").click()
        page.get_by_label("Target number of rollout workers").fill("2")
        page.get_by_role("button", name="Scale").click()
        expect(page.get_by_text("scale to 2 rollout workers?")).to_be_visible()
        page.get_by_role("button", name="Yes").click()
        expect(page.locator("#actions")).to_contain_text("scale to 2 rollout workers: done")
        run.until(lambda: list(run.states.values()) == ["serving", "serving"], "a second worker")
        expect(page.locator("#workers")).to_contain_text("rollout-1")
        page.close()
        assert run.stop() == []

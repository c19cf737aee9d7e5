"""Who may look and who may change: tried with requests that somebody with bad intent would make."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from flask import Flask
from flask.testing import FlaskClient

from dashboard.active import ActiveRun
from dashboard.app import build_app
from dashboard.board import Board
from dashboard.config import DashboardConfig
from dashboard.guard import Guard
from dashboard.run_view import RunView
from dashboard.server import DashboardServer
from tests.dashboard.run_on_disk import write_run
from tests.dashboard.test_showing import FakeControls

TOKEN = "a-token-of-this-run"
LOCAL = "http://127.0.0.1:8270"


class CountingControls(FakeControls):
    def __init__(self) -> None:
        super().__init__()
        self.scaled_to: list[int] = []

    def scale(self, num_rollouts: int) -> None:
        self.scaled_to.append(num_rollouts)


@pytest.fixture
def live() -> CountingControls:
    return CountingControls()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run").root


def client(root: Path, live: CountingControls, host: str = "127.0.0.1", names: tuple[str, ...] = ()) -> FlaskClient:
    view = RunView(root, ActiveRun(live))
    app: Flask = build_app(Board({view.name: view}), Guard(TOKEN, host, names))
    return app.test_client()


def scale(visitor: FlaskClient, base: str = LOCAL, **headers: str) -> tuple[int, str]:
    """What the page asks when somebody confirms to scale to 5."""
    question = {
        "output": "..ask.opened@0...actions.children@0..",
        "changedPropIds": ["confirm.n_clicks"],
        "inputs": [
            {"id": "confirm", "property": "n_clicks", "value": 1},
            {"id": "cancel", "property": "n_clicks"},
        ],
        "state": [{"id": "asked", "property": "data", "value": {"what": "scale", "size": 5}}],
    }
    callbacks = visitor.get("/_dash-dependencies", base_url=base).json or []
    (output,) = [c["output"] for c in callbacks if any(i["id"] == "confirm" for i in c["inputs"])]
    question["output"] = output
    parts = [part.split(".") for part in output.strip(".").split("...")]
    question["outputs"] = [{"id": name, "property": prop} for name, prop in parts]
    response = visitor.post("/_dash-update-component", json=question, base_url=base, headers=headers)
    return response.status_code, response.text


def test_on_loopback_looking_needs_no_token_and_changing_does(root: Path, live: CountingControls) -> None:
    visitor = client(root, live)
    assert visitor.get("/", base_url=LOCAL).status_code == 200
    status, text = scale(visitor)
    assert (status, live.scaled_to) == (200, [])
    assert "Read-only. To make changes" in text
    assert visitor.get("/?token=another", base_url=LOCAL).status_code == 401
    let_in = visitor.get(f"/?token={TOKEN}", base_url=LOCAL)
    assert (let_in.status_code, let_in.headers["Location"]) == (303, "/")
    cookie = let_in.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    scale(visitor)
    assert live.scaled_to == [5]


def test_on_another_address_everything_needs_the_token(root: Path, live: CountingControls) -> None:
    visitor = client(root, live, "10.0.0.7")
    there = "http://10.0.0.7:8270"
    for address in ("/", "/_dash-layout", "/download/metrics.csv", f"/image/{'0' * 64}", "/assets/page.css", "/none"):
        assert visitor.get(address, base_url=there).status_code == 401, address
    cookie = visitor.get(f"/?token={TOKEN}", base_url=there).headers["Set-Cookie"].split(";")[0]
    stranger = visitor.application.test_client(use_cookies=False)
    name, _, token = cookie.partition("=")
    for given, status in ((f"{name}=another", 401), (f"other={token}", 401), (cookie, 200)):
        assert stranger.get("/", base_url=there, headers={"Cookie": given}).status_code == status, given


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": LOCAL},
    ],
)
def test_a_change_from_another_page_is_refused_though_the_browser_sends_the_cookie(
    root: Path, live: CountingControls, headers: dict[str, str]
) -> None:
    visitor = client(root, live)
    visitor.get(f"/?token={TOKEN}", base_url=LOCAL)
    status, _ = scale(visitor, **headers)
    assert (status, live.scaled_to) == (403, [])
    status, _ = scale(visitor, **{"Sec-Fetch-Site": "same-origin", "Origin": LOCAL})
    assert (status, live.scaled_to) == (200, [5])


def test_a_name_that_was_made_to_lead_here_is_refused(root: Path, live: CountingControls) -> None:
    visitor = client(root, live)
    assert visitor.get("/", base_url="http://evil.example:8270").status_code == 421
    assert visitor.get("/", base_url="http://localhost:8270").status_code == 200
    named = client(root, live, "0.0.0.0", ("gpu-7",))
    assert named.get("/", base_url="http://evil.example").status_code == 421
    assert named.get("/", base_url="http://gpu-7").status_code == 401


@pytest.mark.parametrize(
    "address",
    [
        "/image/../config.json",
        "/image/..%2f..%2fconfig.json",
        "/image/%2e%2e%2fconfig.json",
        "/image//etc/passwd",
        "/image/" + "a" * 63,
        "/image/" + "A" * 64,
        "/assets/../app.py",
        "/assets/%2e%2e/app.py",
        "/assets/..%2fapp.py",
        "/download/../config.json",
    ],
)
def test_no_name_from_the_network_leaves_the_runs_folder(root: Path, live: CountingControls, address: str) -> None:
    (root / "config.json").write_text('{"secret": "of the run"}')
    response = client(root, live).get(address, base_url=LOCAL)
    assert b"secret" not in response.data
    assert b"root:" not in response.data
    assert b"import" not in response.data
    # Dash answers any other address with its page.
    assert response.status_code == 404 or response.mimetype == "text/html"


def test_the_page_may_load_nothing_from_elsewhere_and_run_no_script_that_is_not_its_own(
    root: Path, live: CountingControls
) -> None:
    response = client(root, live).get("/", base_url=LOCAL)
    policy = dict(rule.split(" ", 1) for rule in response.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == policy["script-src"].split()[0] == "'self'"
    assert "unsafe" not in policy["script-src"]
    assert "http" not in response.headers["Content-Security-Policy"]
    assert policy["frame-ancestors"] == "'none'"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "//" not in " ".join(part for part in response.text.split('"') if part.startswith(("http", "//")))


def test_a_question_of_many_megabytes_is_refused(root: Path, live: CountingControls) -> None:
    visitor = client(root, live)
    response = visitor.post(
        "/_dash-update-component", data=b"x" * (10 << 20), base_url=LOCAL, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 413


def test_a_thousand_requests_at_once_are_all_answered(root: Path, live: CountingControls) -> None:
    view = RunView(root, ActiveRun(live))
    server = DashboardServer(Board({view.name: view}), DashboardConfig())
    Thread(target=server.run, daemon=True).start()

    def ask(number: int) -> int:
        headers = {} if number % 2 else {"Host": "evil.example"}
        try:
            with urlopen(Request(f"{server.place.url}_dash-layout", headers=headers), timeout=60) as response:
                json.loads(response.read())
                return response.status
        except HTTPError as error:
            return error.code

    try:
        with ThreadPoolExecutor(200) as pool:
            found = list(pool.map(ask, range(1000)))
    finally:
        server.close()
    assert {status: found.count(status) for status in set(found)} == {200: 500, 421: 500}

"""The rewriting path against vLLM's own server, with a model that cannot rewrite."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from corpora.builder.build import build_data
from corpora.builder.config import BuildConfig, OpenAIRewrite, SceneSource, Splits
from spatial.scenes.config import SceneConfig
from tests.vllm_server import vllm_server

pytestmark = [pytest.mark.stack, pytest.mark.slow]
BASE = Path(__file__).parents[3] / "assets" / "tiny-base"


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with vllm_server(BASE, tmp_path_factory.mktemp("server") / "log") as address:
        yield address


def test_rewrites_of_a_model_that_cannot_rewrite_are_rejected_counted_and_templates_stay(
    base_url: str, tmp_path: Path
) -> None:
    plain = BuildConfig(
        out=tmp_path / "plain",
        source=SceneSource(scenes=SceneConfig(image_size_px=48, min_visible_px=5), num_images=6),
        questions_per_image=2,
        splits=Splits(train=1.0, validation=0.0, test=0.0),
    )
    rewrite = OpenAIRewrite(base_url=base_url, model="tiny", max_tokens=32, concurrency=4, timeout_s=60.0)
    templates = build_data(plain)
    report = build_data(plain.replace(out=tmp_path / "rewritten", rewrite=rewrite))
    assert (tmp_path / "rewritten/train.jsonl").read_bytes() == (tmp_path / "plain/train.jsonl").read_bytes()
    assert report.chains == templates.chains
    counts = report.tally.rewrites
    # The server did answer: what is wrong is what it says.
    assert {reason for reasons in counts.values() for reason in reasons} <= {"grammar", "cut_off", "empty", "length"}
    assert {path: sum(reasons.values()) for path, reasons in counts.items()} == {
        path: sum(paths.get(path, 0) for paths in report.chains["train"].values()) for path in counts
    }

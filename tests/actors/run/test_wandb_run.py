"""wandb where its server cannot be reached."""

import time
from pathlib import Path

import pytest

from actors.config import TelemetryConfig
from actors.run.run_folder import RunFolder
from actors.run.wandb_run import finish_wandb, mode_of, start_wandb, within


def test_a_key_without_a_network_delays_the_run_by_seconds_and_writes_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    warnings: list[str] = []
    started_s = time.monotonic()
    run = start_wandb(TelemetryConfig(), RunFolder(tmp_path), {"seed": 0}, warnings.append, online_s=2)
    assert time.monotonic() - started_s < 30
    assert run is not None
    assert run.settings.mode == "offline"
    assert "wandb cannot be used online" in warnings[0]
    assert f"wandb writes to {tmp_path / 'wandb'} instead" in warnings[1]
    run.log({"loss": 1.0}, step=1)
    finish_wandb(run, warnings.append)
    assert len(warnings) == 2
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_the_mode_follows_the_key_unless_the_config_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert mode_of(TelemetryConfig()) == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    assert mode_of(TelemetryConfig()) == "online"
    assert mode_of(TelemetryConfig(wandb="off")) == "off"


def test_a_call_that_does_not_return_is_left_behind_and_what_it_raises_is_raised() -> None:
    started_s = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer in 0\.1 s"):
        within(0.1, lambda: time.sleep(5))
    assert time.monotonic() - started_s < 2
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)

"""wandb with time limits: a network that does not answer delays a run by seconds, and never ends it."""

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal

import wandb

from actors.config import TelemetryConfig
from actors.run.run_folder import RunFolder

Mode = Literal["online", "offline", "off"]
Warn = Callable[[str], None]

# wandb's own default is 90 s, longer than terminals wait for the run's status.
_ONLINE_S = 15
# wandb keeps its own time limits, except when the look-up of its server's name gets no answer.
_INIT_S = 30
_FINISH_S = 30


def mode_of(config: TelemetryConfig) -> Mode:
    """The mode of wandb to use: "auto" means online if a key is set, else offline."""
    if config.wandb != "auto":
        return config.wandb
    return "online" if os.environ.get("WANDB_API_KEY") else "offline"


def start_wandb(
    config: TelemetryConfig,
    folder: RunFolder,
    run_config: Mapping[str, object],
    warn: Warn,
    online_s: float = _ONLINE_S,
) -> "wandb.Run | None":
    """A run at wandb: offline if its server cannot be reached, None if wandb cannot be used at all. Takes a minute at
    most. What did not work is a warning, and does not end the run.

    Args:
        online_s: how long the server may take to answer.
    """
    mode = mode_of(config)
    if mode == "online":
        run = _start(config, folder, run_config, "online", warn, online_s)
        if run is not None:
            return run
        warn(
            f"wandb writes to {folder.root / 'wandb'} instead; `wandb sync` uploads it later (telemetry.wandb=offline)"
        )
        mode = "offline"
    return None if mode == "off" else _start(config, folder, run_config, mode, warn, online_s)


def finish_wandb(run: "wandb.Run", warn: Warn) -> None:
    """Let wandb upload what is left, for a limited time."""
    try:
        within(_FINISH_S, run.finish)
    except Exception as error:  # whatever it is: the run's own files are complete
        warn(f"wandb did not take everything ({_first_line(error)}); `wandb sync {run.dir}` uploads the rest")


def within(timeout_s: float, call: Callable[[], Any]) -> Any:
    """The result of `call`, which runs in a thread that nobody waits for after `timeout_s`.

    Raises:
        TimeoutError: it has not returned in time. Also what `call` raises.
    """
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["value"] = call()
        except Exception as error:  # raised below, in the thread that asked
            outcome["error"] = error

    thread = threading.Thread(target=run, name="wandb", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise TimeoutError(f"no answer in {timeout_s:g} s")
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


def _start(
    config: TelemetryConfig,
    folder: RunFolder,
    run_config: Mapping[str, object],
    mode: Literal["online", "offline"],
    warn: Warn,
    online_s: float,
) -> "wandb.Run | None":
    def init() -> "wandb.Run":
        return wandb.init(
            project=config.project,
            name=folder.root.name,
            dir=str(folder.root),
            config=dict(run_config),
            mode=mode,
            settings=wandb.Settings(silent=True, console="off", init_timeout=online_s),
        )

    try:
        return within(_INIT_S, init)
    except Exception as error:  # whatever it is: a run does not depend on wandb
        warn(f"wandb cannot be used {mode}: {_first_line(error)}")
        return None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__

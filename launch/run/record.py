"""How a run was trained, as recorded in its folder.

config.json   how it was begun: written once, and set aside only with the results that it made
starts.jsonl  one line per command that was started here; training commands record their changes to the config
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from actors.run.run_folder import RunFolder
from launch.settings.config import ConfigError, RunConfig, without_former_keys
from spatial.json_lines import read_lines

TRAINING = ("cold-start", "train")
"""Commands whose changes of the config are kept for the commands after them."""
MADE = (
    "data.type",
    "data.folder",
    "data.scenes",
    "data.num_train_scenes",
    "data.num_validation_scenes",
    "data.num_test_scenes",
    "data.test_families",
    "model",
    "seed",
)
"""What a run's folder holds was made with these fields."""
_NUM_PARTS, _PART_BYTES = 64, 65536
_ABSENT: Any = object()


@dataclass(frozen=True)
class Difference:
    """One field that is not as it was: `learner.optimizer.learning_rate: 1e-06 → 2e-06`."""

    field: str
    """Dotted."""
    was: Any
    now: Any
    """As JSON; `_ABSENT` where there is no such field."""

    def __str__(self) -> str:
        if isinstance(self.was, dict) and isinstance(self.now, dict):  # another alternative
            changed = [key for key, value in self.now.items() if self.was.get(key, _ABSENT) != value]
            return "\n".join(
                f"{self.field}.{key}: {_shown(self.was.get(key, _ABSENT))} → {_shown(self.now[key])}" for key in changed
            )
        return f"{self.field}: {_shown(self.was)} → {_shown(self.now)}"

    def concerns(self, fields: Sequence[str]) -> bool:
        """Whether it lies within one of the dotted `fields`, or around one."""
        return any(f"{self.field}.".startswith(f"{field}.") or field.startswith(f"{self.field}.") for field in fields)


def differences(was: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[Difference]:
    """Fields that differ between two configs as plain data. Alternatives of different `type` differ as a whole; the
    place of the folder is no difference."""
    for key in [*was, *(key for key in now if key not in was)]:
        field, before, after = f"{prefix}{key}", was.get(key, _ABSENT), now.get(key, _ABSENT)
        if field == "run" or before == after or _is_same_place(before, after):
            continue
        if isinstance(before, dict) and isinstance(after, dict) and before.get("type") == after.get("type"):
            yield from differences(before, after, f"{field}.")
        else:
            yield Difference(field, before, after)


def own_config(folder: RunFolder) -> dict[str, Any] | None:
    """The config that the run is trained with now: as it was begun, and what later starts changed; None: it has none.

    Raises:
        ConfigError: the file is damaged, or is no run's.
    """
    try:
        own = folder.read_config()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder.config}: cannot be read ({error}), so it is unknown how the run was trained; restore the "
            "file, or move it away and name the config with --config; or give another run="
        ) from None
    return None if own is None else without_former_keys(own, str(folder.config))


def begin_again(folder: RunFolder, config: RunConfig, paths: Sequence[Path]) -> Path | None:
    """Set `paths` aside, with the record of how they were made, so that training begins again with another record.

    The record is set aside too if it no longer describes the run's data or model.

    Returns:
        Where they lie now; None if nothing was in the way.
    """
    own = own_config(folder)
    is_other = own is not None and any(
        change.concerns(MADE) for change in differences(own, config.model_dump(mode="json"))
    )
    if not is_other and not folder.holds_any(*paths):
        return None
    return folder.set_aside(*paths, folder.config, folder.starts)


def last_start(folder: RunFolder, commands: Sequence[str] = TRAINING) -> dict[str, Any] | None:
    """The line of `starts.jsonl` of the latest of these commands."""
    return next((start for start in reversed(read_lines(folder.starts)) if start.get("command") in commands), None)


def recorded_from(folder: RunFolder) -> Path | None:
    """The model folder that the run's training started from."""
    start = (last_start(folder, ("train",)) or {}).get("from")
    return None if start is None else folder.root / start


def record_start(folder: RunFolder, config: RunConfig, command: str, start: Path | None = None) -> None:
    """Add a line to `starts.jsonl`; a run that has no config.json gets it.

    Args:
        start: the model folder that training starts from.
    """
    now = config.model_dump(mode="json")
    own = own_config(folder)
    if own is None:
        folder.write_config(config.model_dump_json(indent=1) + "\n")
    changes = [] if own is None or command not in TRAINING else list(differences(own, now))
    folder.append_start(
        {
            "time": datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
            "command": command,
            "arguments": sys.argv[1:],
            "version": version("sr-real"),
            **({} if start is None else {"from": _place(start, folder.root)}),
            **({"data": data_mark(folder)} if command in TRAINING else {}),
            "changes": [_stored(change) for change in changes],
        }
    )


def check_data(folder: RunFolder, accept: bool) -> None:
    """Whether the samples are still those that the run was trained on: a resume continues at a place in their order.

    Raises:
        ConfigError: they are not, and the change is not accepted.
    """
    was, now = (last_start(folder) or {}).get("data"), data_mark(folder)
    there = "is missing" if now is None else f"has {now['num_bytes']} with digest {now['digest']}"
    if was is not None and was != now and not accept:
        raise ConfigError(
            f"{folder.data / 'train.jsonl'} is not what the run was trained on: it had {was['num_bytes']} bytes with "
            f"digest {was['digest']}, and now {there}; "
            "restore the former file, begin again without --resume, or continue with --accept-changes"
        )


def data_mark(folder: RunFolder) -> dict[str, Any] | None:
    """Identifies the run's training samples: their number of bytes, and a digest of parts of them, because it may be
    many gigabytes large. None: there are none."""
    file = folder.data / "train.jsonl"
    if not file.is_file():
        return None
    size, digest = file.stat().st_size, hashlib.sha256()
    with file.open("rb") as content:
        for part in range(_NUM_PARTS):
            content.seek(part * max(0, size - _PART_BYTES) // (_NUM_PARTS - 1))
            digest.update(content.read(_PART_BYTES))
    return {"num_bytes": size, "digest": digest.hexdigest()[:16]}


def _place(path: Path, root: Path) -> str:
    """Relative within the run, so that the folder can be moved."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _stored(change: Difference) -> dict[str, Any]:
    values = {"was": change.was, "now": change.now}
    return {"field": change.field} | {key: value for key, value in values.items() if value is not _ABSENT}


def _is_same_place(before: Any, after: Any) -> bool:
    """Two ways of writing the same existing path."""
    if not (isinstance(before, str) and isinstance(after, str) and ("/" in before or "/" in after)):
        return False
    return Path(before).exists() and Path(before).resolve() == Path(after).resolve()


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""Prepares what actors need: the run's folder, its data, its base model."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from actors.run.run_folder import RunFolder
from launch.machine.attention import attention_fault, find_kernel_packages
from launch.machine.doctor import HOME_ADVICE
from launch.machine.fit import requirements_of
from launch.machine.gpus import check_gpus_for
from launch.machine.inspection import home_fault, ray_needs_home
from launch.run.record import own_config
from launch.settings.config import ConfigError, FileDataConfig, RunConfig, SceneDataConfig
from launch.settings.model_paths import find_model
from launch.settings.targets import check_writable
from spatial.dataset import open_samples
from spatial.images import ImageStore
from spatial.program_hash import QUESTION_SOURCES, program_hash
from spatial.scenes.build import build_dataset
from vlm.config import TinyModelConfig
from vlm.pixel_limits import PixelLimits

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

TINY_INSTEAD = "model.type=tiny learner.sft.freeze=[] learner.freeze=[] learner.last_language_layers=null"
"""Settings for a tiny model, which knows nothing yet, in place of a pretrained one."""

# Every kind of question comes up in far fewer.
_NUM_TEXTS_CHECKED = 20_000
# In what a run has made: by which settings.
_STAMP = "built.json"


def prepare_folder(folder: RunFolder) -> None:
    """Create the run's folder, or check that it is one.

    Raises:
        ConfigError: the folder holds a person's files where a run's would be, or links that a run would write through;
            or it cannot be made.
    """
    check_folder(folder)
    try:
        folder.create()
        for written in (folder.trajectories, folder.checkpoints, folder.cold_start_checkpoints, folder.evaluations):
            if written.is_dir():
                check_writable(written)
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: cannot be created ({error.strerror}); give a writable folder: run=…"
        ) from None


def check_machine(config: RunConfig) -> None:
    """Check what would make Ray fail, or the learner after minutes of loading (`sr-real doctor` checks more).

    Raises:
        ConfigError: it is not there.
    """
    if config.cluster.address is None and ray_needs_home() and (fault := home_fault()) is not None:
        raise ConfigError(f"{fault}, and Ray keeps its token there: {HOME_ADVICE}")
    found = attention_fault(requirements_of(config), find_kernel_packages())
    if found is not None:
        raise ConfigError(": ".join(found))
    check_gpus_for(config)


def check_model(config: RunConfig) -> None:
    """Look for the base model and whether it can see the prompts' images, before hours go into data.

    Raises:
        ConfigError: it is not there, or cannot.
    """
    if isinstance(config.model, TinyModelConfig):
        return
    limits = PixelLimits.of_folder(Path(find_model(config.model.path)))
    try:
        if limits is not None:
            limits.within(config.prompt)
    except ValueError as error:
        raise ConfigError(f"model {config.model.path}: {error}") from None


def check_data(config: RunConfig) -> None:
    """Look for files to train on, before anything is made.

    Raises:
        ConfigError: they are not there.
    """
    if isinstance(config.data, FileDataConfig):
        folder = Path(config.data.folder)
        if not folder.is_dir():
            raise ConfigError(f"data.folder={folder}: there is no such folder")
        if not (folder / "train.jsonl").is_file():
            raise ConfigError(f"data.folder={folder}: there is no train.jsonl in it")


def prepare_data(config: RunConfig, folder: RunFolder, num_workers: int, on_progress: Progress) -> None:
    """Data and image store in the run's folder: scenes are made (once), files are linked.

    Raises:
        ConfigError: there are no data, or what lies in their place is not the run's own.
    """
    if isinstance(config.data, SceneDataConfig):
        _prepare_scenes(config, config.data, folder, num_workers, on_progress)
        _link(folder.images, folder.data / "images")
    else:
        check_data(config)
        source = Path(config.data.folder).resolve()
        _make_way(folder, source)
        _link(folder.data, source)
        _link(folder.images, folder.data / "images")
        _check_files(config, folder)


def _prepare_scenes(
    config: RunConfig, data: SceneDataConfig, folder: RunFolder, num_workers: int, on_progress: Progress
) -> None:
    stamp = folder.data / _STAMP
    made = {"seed": config.seed, "data": data.model_dump(mode="json"), "program": program_hash(*QUESTION_SOURCES)}
    recipe = json.dumps(made, indent=1)
    if folder.data.is_symlink():
        folder.data.unlink()  # the link alone: what it leads to is a person's
    if stamp.exists():
        found = stamp.read_text()
        if found == recipe:
            return
        if folder.is_trained and _without_program(found) == _without_program(recipe):
            _log.warning(
                "%s was made by another version of this program; it is kept, because the run was trained on it",
                folder.data,
            )
            return
    elif folder.holds_any(folder.data):
        raise ConfigError(
            f"{folder.data} holds files that no run wrote, and scenes would be built there; move them away, train "
            f"on them (data.type=files data.folder=…), or give another folder: run=…"
        )
    if (folder.data / "images").is_symlink():
        raise ConfigError(f"{folder.data / 'images'} is a link, and a run does not write through links; remove it")
    folder.data.mkdir(exist_ok=True)
    stamp.write_text("")  # ours from now on, though not whole
    tested = data.scenes.replace(families=data.test_families or data.scenes.families)
    trained = {"train": data.num_train_scenes, "validation": data.num_validation_scenes}
    build_dataset(data.scenes, folder.data, trained, config.seed, num_workers, on_progress)
    build_dataset(tested, folder.data, {"test": data.num_test_scenes}, config.seed, num_workers, on_progress)
    stamp.write_text(recipe)


def _without_program(recipe: str) -> dict[str, object] | None:
    """What the data were asked to be; None of data that are not whole."""
    try:
        return {key: value for key, value in json.loads(recipe).items() if key != "program"}
    except (ValueError, AttributeError):
        return None


def _make_way(folder: RunFolder, source: Path) -> None:
    """Scenes that the run has built are set aside; a person's files stay where they are.

    Raises:
        ConfigError: there are such files.
    """
    if folder.data.is_symlink() or not folder.data.exists() or folder.data.resolve() == source:
        return
    if folder.holds_any(folder.data) and not (folder.data / _STAMP).exists():
        raise ConfigError(
            f"{folder.data} holds files that no run wrote, and data.folder={source} would be linked there; move "
            "them away, or give another folder: run=…"
        )
    if folder.set_aside(folder.data) is None:
        folder.data.rmdir()


def _check_files(config: RunConfig, folder: RunFolder) -> None:
    """Read every line once, so that bad data stops the run now and not an hour later; skipped lines are reported."""
    for file in sorted(folder.data.glob("*.jsonl")):
        loaded = open_samples(file, ImageStore(folder.images), config.max_bad_share)
        for reject in loaded.rejects[:5]:
            _log.warning("skipped: %s", reject)
        if loaded.rejects:
            _log.warning("%s: %d of %d lines skipped", file, len(loaded.rejects), len(loaded.samples))


def prepare_base_model(config: RunConfig, folder: RunFolder) -> Path:
    """The folder of the model that a run starts from.

    A tiny one is built (once) around the words of its data; a model that knows no region tokens is copied (once)
    and given them, if the prompts use them. One that was made for another config is set aside and made again.
    """
    from transformers.utils import logging

    from vlm.model_folders import add_regions, knows_regions
    from vlm.tiny import build_tiny_checkpoint

    logging.disable_progress_bar()
    model = config.model
    if not isinstance(model, TinyModelConfig):
        model_folder = find_model(model.path)
        _check_words(config, folder, model_folder)
        if not config.prompt.has_region_tokens or knows_regions(model_folder):
            return Path(model_folder)
        recipe = {"model": model_folder, "seed": config.seed}
        if not _is_made(folder, recipe):
            add_regions(model_folder, folder.base_model, config.seed)
    else:
        recipe = {
            "model": model.model_dump(mode="json"),
            "seed": config.seed,
            # What is left out for its length gives words all the same.
            "data": config.data.model_dump(mode="json", exclude={"too_long"}),
        }
        if not _is_made(folder, recipe):
            build_tiny_checkpoint(folder.base_model, _texts(config, folder), model, config.seed)
    (folder.base_model / _STAMP).write_text(json.dumps(recipe, indent=1))
    return folder.base_model


def _is_made(folder: RunFolder, recipe: Mapping[str, object]) -> bool:
    """Whether the base model exists and was made by `recipe`; a different one is set aside."""
    stamp = folder.base_model / _STAMP
    if not (folder.base_model / "config.json").exists():
        return False
    # Earlier versions left no stamp: theirs are of the run's own config.
    if (json.loads(stamp.read_text()) if stamp.exists() else _recipe_of_own(folder, recipe)) == recipe:
        return True
    folder.set_aside(folder.base_model)
    return False


def _recipe_of_own(folder: RunFolder, recipe: Mapping[str, object]) -> Mapping[str, object] | None:
    own = own_config(folder)
    if own is None:
        return None
    model = own["model"]
    asked = model if model["type"] == "tiny" else find_model(model["path"])
    return {**recipe, "model": asked, "seed": own["seed"], **({"data": own["data"]} if "data" in recipe else {})}


def _check_words(config: RunConfig, folder: RunFolder, model_folder: str) -> None:
    """A tokenizer of whole words, such as the tiny base's, must know every word of the data.

    Raises:
        ConfigError: it does not; the words are named.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    if tokenizer.unk_token_id is None:
        return
    texts = list(islice(_texts(config, folder), _NUM_TEXTS_CHECKED))
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    unknown = {
        text[start:end]
        for text, ids, spans in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        for token_id, (start, end) in zip(ids, spans, strict=True)
        if token_id == tokenizer.unk_token_id
    }
    if unknown:
        shown = ", ".join(map(repr, sorted(unknown)[:10]))
        raise ConfigError(
            f"model {model_folder}: its tokenizer does not know {len(unknown)} words of the data, such as "
            f"{shown}; use other data, another model, or a tiny one built around the data, with all of it trained: "
            f"{TINY_INSTEAD}"
        )


def _texts(config: RunConfig, folder: RunFolder) -> Iterator[str]:
    from vlm.prompt import question_text
    from vlm.regions import region_label

    images = ImageStore(folder.images)
    for sample in open_samples(folder.data / "train.jsonl", images, config.max_bad_share).samples:
        for path in sample.paths:
            yield question_text(sample, path, config.prompt)
            yield sample.chains.get(path, "")
        yield from map(region_label, sample.regions)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink():
        link.unlink()
    if not link.exists():
        # Relative within the run, so that the folder can be moved.
        inside = target.is_relative_to(link.parent)
        link.symlink_to(target.relative_to(link.parent) if inside else target, target_is_directory=True)


def check_folder(folder: RunFolder) -> None:
    """Whether a run may work in the folder at all.

    Raises:
        ConfigError: a person's files stand where a run's would, or a link does.
    """
    root = folder.root
    if root.exists() and not root.is_dir():
        raise ConfigError(f"run={root} is a file; give a folder")
    if not root.is_dir():
        return
    if not any(path.exists() for path in (folder.owner, folder.config, folder.starts)):
        taken = sorted(path.name for path in folder.own_paths if path.exists() or path.is_symlink())
        if taken:
            raise ConfigError(
                f"{root} is not a run's folder, and holds files where a run would write ({', '.join(taken)}); give "
                "another folder: run=…"
            )
    for path in (*folder.own_paths, *folder.evaluations.glob("*")):
        if path.is_symlink() and path not in (folder.data, folder.images):
            raise ConfigError(
                f"{path} is a link, to {path.readlink()}: a run does not write through links, because their "
                "target may belong to someone else. Remove it, or put the whole folder (run=…) there"
            )

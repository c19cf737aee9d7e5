"""A family is one object: its modules are where the object says, and every weight of it belongs to a part."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from learner.config import LearnerConfig, PointerConfig
from learner.freezing import freeze
from learner.pointer import Pointer
from vlm.config import TinyModelConfig
from vlm.errors import CheckpointError
from vlm.families import FAMILIES, QWEN2_5_VL, QWEN3_VL, Family, family_of
from vlm.model_folders import add_regions, model_class, region_config
from vlm.policy import load_policy
from vlm.tiny import build_tiny_checkpoint, build_tokenizer, model_config

TINY = TinyModelConfig(image_size_px=128, vision_layers=2, vision_width=32, text_layers=2, text_width=64, num_heads=2)
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.title)


def random_model(family: Family) -> nn.Module:
    config = region_config(model_config(build_tokenizer(["a"]), TINY, family))
    with torch.device("meta"):
        return family.classes().model(config)


@each_family
def test_a_family_is_found_by_its_type_with_region_tokens_and_without(family: Family) -> None:
    plain = model_config(build_tokenizer(["a"]), TINY, family)
    for config in (plain, region_config(plain)):
        assert family_of(config.model_type) is family
    plain.architectures = [family.architecture]
    assert model_class(plain) is family.classes().plain_model
    plain.architectures = [family.region_architecture]
    assert model_class(plain) is family.classes().model


@each_family
def test_each_side_has_a_module_of_the_familys_name_with_its_class(family: Family) -> None:
    assert family.classes().model.__name__ == family.region_architecture
    assert family.classes().model.__module__ == f"vlm.hub.{family.model_type}"
    engine_side = find_spec(f"rollout.families.{family.model_type}")
    assert engine_side is not None
    assert engine_side.origin is not None
    assert f"class {family.region_architecture}(" in Path(engine_side.origin).read_text()


@each_family
def test_every_part_of_a_model_has_weights_and_each_is_frozen_alone(family: Family) -> None:
    model = random_model(family)
    names = [name for name, _ in model.named_parameters()]
    parts = {family.part_of(name) for name in names}
    assert parts == {"vision", "projector", "region", "language"}
    for part in parts:
        freeze(model, LearnerConfig(freeze=(part,)))
        still = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        assert still == {name for name in names if family.part_of(name) == part}


@each_family
def test_a_weights_part_follows_from_its_name(family: Family) -> None:
    for name, _ in random_model(family).named_parameters():
        module = name.split(".")[1]
        towers = {"visual": "projector" if "merger" in name else "vision", "region_encoder": "region"}
        assert family.part_of(name) == towers.get(module, "language"), name
    assert family.part_of("lm_head.weight") == "language"


@each_family
def test_the_last_layers_are_trained_with_the_norm_after_them(family: Family) -> None:
    model = random_model(family)
    freeze(model, LearnerConfig(freeze=("vision", "projector", "region"), last_language_layers=1))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    first = ("model.language_model.layers.1.", "model.language_model.norm.")
    assert trained == {name for name, _ in model.named_parameters() if name.startswith(first)} != set()


def test_a_model_of_no_known_family_is_refused_with_the_families_there_are() -> None:
    with pytest.raises(CheckpointError, match=r"model folder /x has the model_type 'llava'.* Qwen3-VL \(qwen3_vl\),"):
        family_of("llava", "model folder /x")


def test_the_pointer_loss_is_refused_where_a_familys_attention_is_not_known(tmp_path: Path) -> None:
    assert QWEN3_VL.queries_and_keys is not None
    build_tiny_checkpoint(tmp_path, ["a"], TINY, seed=0, family=QWEN2_5_VL)
    with pytest.raises(ValueError, match=r"sft\.pointer: there is no pointer loss for Qwen2\.5-VL, only for Qwen3-VL"):
        Pointer(load_policy(tmp_path).vlm, PointerConfig())


def test_the_table_of_families_needs_neither_torch_nor_transformers() -> None:
    code = "import sys, vlm.families; sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_only_the_whole_model_of_a_known_family_gains_region_tokens(tmp_path: Path) -> None:
    build_tiny_checkpoint(tmp_path / "plain", ["a"], TINY, seed=0, with_regions=False)
    file = tmp_path / "plain" / "config.json"
    config = json.loads(file.read_text())
    for changes, reason in (
        ({"architectures": ["Qwen3VLModel"]}, "a Qwen3VLModel cannot have region tokens, only a Qwen3VLForCond"),
        ({"model_type": "qwen2_vl"}, "has the model_type 'qwen2_vl'; the known families are Qwen3-VL"),
    ):
        file.write_text(json.dumps(config | changes))
        with pytest.raises(CheckpointError, match=reason):
            add_regions(tmp_path / "plain", tmp_path / "regions", seed=0)

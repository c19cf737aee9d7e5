"""The learner takes the fastest attention that works, and says why not a faster one."""

from types import SimpleNamespace

import pytest
import torch

from learner import attention as module
from learner.attention import choose_attention
from learner.config import DeepSpeedConfig
from vlm.attention import Attention, AttentionName
from vlm.packed_rows import HeadShape

MODEL = SimpleNamespace(
    text_config=SimpleNamespace(num_attention_heads=16, num_key_value_heads=8, head_dim=128, hidden_size=2048),
    vision_config=SimpleNamespace(num_heads=16, hidden_size=1152),
)
CUDA, CPU = torch.device("cuda"), torch.device("cpu")
# What works on a card of these tests: names with the width of heads.
Works = set[tuple[AttentionName, int]]
ALL: Works = {(name, width) for name in ("flash_attention_4", "flash_attention_2", "varlen") for width in (72, 128)}


def choose(monkeypatch: pytest.MonkeyPatch, works: Works, device: torch.device = CUDA, **settings: object) -> Attention:
    def fault_of(name: AttentionName, heads: HeadShape, dtype: torch.dtype, device: torch.device) -> str | None:
        assert dtype == torch.bfloat16
        return None if (name, heads.width) in works else f"no {heads.width}"

    monkeypatch.setattr(module, "fault_of", fault_of)
    given = {"dtype": "bfloat16", "zero_stage": 1} | settings
    return choose_attention(DeepSpeedConfig.model_validate(given), MODEL, device)


def test_the_fastest_that_works_is_taken_for_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(monkeypatch, ALL) == Attention("flash_attention_4", "flash_attention_4", packed=True)
    without_72 = choose(monkeypatch, ALL - {("flash_attention_4", 72)})
    assert (without_72.text, without_72.vision, without_72.packed) == ("flash_attention_4", "varlen", True)
    assert without_72.reasons == ("in the vision tower flash_attention_4 does not work: no 72",)
    assert str(without_72).startswith("flash_attention_4, rows packed, varlen in the vision tower; in the vision tower")
    varlen = choose(monkeypatch, {("varlen", 72), ("varlen", 128)})
    assert (varlen.text, varlen.vision, varlen.packed) == ("varlen", "varlen", True)
    assert "flash_attention_4 does not work: no 128" in varlen.reasons
    none = choose(monkeypatch, set())
    assert (none.text, none.vision, none.packed, len(none.reasons)) == ("sdpa", "sdpa", False, 4)


def test_padded_rows_are_left_to_pytorch_and_images_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(monkeypatch, ALL, packing=False) == Attention("sdpa", "flash_attention_4", packed=False)


def test_on_a_cpu_and_in_float32_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(monkeypatch, ALL, CPU) == Attention()
    assert choose(monkeypatch, ALL, CPU, packing=True) == Attention(packed=True)
    assert choose(monkeypatch, ALL, dtype="float32") == Attention()


def test_what_the_config_names_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(monkeypatch, ALL, attention="sdpa") == Attention()
    assert choose(monkeypatch, ALL, attention="varlen") == Attention("varlen", "varlen", packed=True)
    assert choose(monkeypatch, ALL, attention="flash_attention_2").text == "flash_attention_2"
    with pytest.raises(ValueError, match="attention=varlen does not work on cuda: varlen does not work: no 128"):
        choose(monkeypatch, ALL - {("varlen", 128)}, attention="varlen")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"packing": True, "attention": "eager"}, "attention=eager reads padded rows only"),
        ({"packing": False, "attention": "varlen"}, "attention=varlen reads packed rows only"),
        ({"dtype": "float32", "zero_stage": 0, "attention": "flash_attention_4"}, "needs dtype=bfloat16"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DeepSpeedConfig.model_validate({"dtype": "bfloat16", "zero_stage": 1} | settings)

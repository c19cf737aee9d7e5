"""Configurations of the models with region tokens."""

from transformers import Qwen2_5_VLConfig, Qwen3VLConfig


class RegionQwen3VLConfig(Qwen3VLConfig):
    """Qwen3-VL's, of a type of its own: transformers without this code then refuses the checkpoint.

    As a plain `qwen3_vl` it would load, drop the region encoder, and answer questions about regions with garbage.
    """

    model_type = "sr_real_qwen3_vl"


class RegionQwen2_5_VLConfig(Qwen2_5_VLConfig):  # noqa: N801 - the family's own name
    """Qwen2.5-VL's, of a type of its own, for the same reason."""

    model_type = "sr_real_qwen2_5_vl"


# `save_pretrained` then writes this file beside config.json.
for _config in (RegionQwen3VLConfig, RegionQwen2_5_VLConfig):
    _config.register_for_auto_class("AutoConfig")

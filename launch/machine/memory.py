"""Memory that a config needs on each GPU, computed before anything starts.

Formulas count what is large, with the number formats and the sharding that the config asks for; what PyTorch's
allocator wastes is allowed for by `SPARE_SHARE`. Sources: ZeRO (arXiv 1910.02054) for weights, gradients and optimiser
states, Korthikanti et al. (arXiv 2205.05198) for what a layer keeps of its activations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.machine.findings import GIB, Finding
from launch.settings.model_paths import find_model
from learner.config import DeepSpeedConfig, LearnerConfig
from rollout.config import EngineConfig, GlooTransferConfig, IpcTransferConfig, NcclTransferConfig, TransferConfig
from vlm.config import LOGIT_ROWS

SPARE_SHARE = 0.1
"""Share of a GPU's memory that fragmentation and libraries take."""
# Logits are held four times: themselves, log-softmax, exponent, gradient. A bonus on the entropy has its own gradient.
_LOGIT_COPIES, _LOGIT_COPIES_WITH_ENTROPY = 4, 6
# DeepSpeed's stage3_max_live_parameters.
_MAX_GATHERED = 1_000_000_000
# vLLM processes a prompt in pieces of at most this many tokens.
_ENGINE_TOKENS = 8192
_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class ModelShape:
    """What the arithmetic asks of a VLM; widths are those of its language model."""

    num_parameters: int
    num_trained: int
    num_layers: int
    hidden_size: int
    intermediate_size: int
    kv_size: int
    """Width of the keys, or of the values: number of heads × width of a head."""
    vocab_size: int

    @classmethod
    def of_model(cls, folder: Path | str, learner: LearnerConfig) -> "ModelShape":
        """From a model folder's config.json alone; see `empty_model`."""
        return cls.of_empty(empty_model(folder, learner))

    @classmethod
    def of_empty(cls, model: Any) -> "ModelShape":
        """Of a model whose weights may have no memory, and whose frozen parts are frozen."""
        text = model.config.text_config
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return cls(
            num_parameters=sum(parameter.numel() for parameter in model.parameters()),
            num_trained=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
            num_layers=text.num_hidden_layers,
            hidden_size=text.hidden_size,
            intermediate_size=text.intermediate_size,
            kv_size=text.num_key_value_heads * head_dim,
            vocab_size=text.vocab_size,
        )


def empty_model(folder: Path | str, learner: LearnerConfig) -> Any:
    """The model that a folder's config.json describes, without memory for its weights, and with the parts frozen that
    the learner does not train.

    Raises:
        ConfigError: there is no such model, here or in the hub's cache; the network is not asked.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from learner.freezing import freeze
    from vlm import model_folders  # noqa: F401 - makes models with region tokens known to transformers

    config: Any = AutoConfig.from_pretrained(find_model(str(folder)))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    freeze(model, learner)
    return model


@dataclass(frozen=True)
class Need:
    """One of the things that take memory on a GPU."""

    what: str
    num_bytes: float


def learner_needs(shape: ModelShape, config: LearnerConfig, engine: EngineConfig) -> list[Need]:
    """What one learner rank holds at once in the middle of an update.

    Args:
        engine: gives the longest row and the way in which weights are sent.
    """
    layout, ranks = config.deepspeed, config.num_ranks
    width = _BYTES[layout.dtype]
    of_weights = ranks if layout.zero_stage == 3 else 1
    of_gradients = ranks if layout.zero_stage >= 2 else 1
    of_states = ranks if layout.zero_stage >= 1 else 1
    # bfloat16 is summed up in float32 beside itself, and has float32 masters.
    is_half = layout.dtype == "bfloat16"
    moments = config.optimizer.kind.state_bytes
    trained = shape.num_trained
    copies = _LOGIT_COPIES_WITH_ENTROPY if config.entropy_coefficient else _LOGIT_COPIES
    largest_bytes = shape.vocab_size * shape.hidden_size * _BYTES[engine.dtype]
    return [
        Need("weights", shape.num_parameters * width / of_weights),
        Need("gradients", trained * (width + (4 if is_half else 0)) / of_gradients),
        Need("optimiser states", trained * (moments + (4 if is_half else 0)) / of_states),
        Need("reference", shape.num_parameters * width / of_weights if config.kl_coefficient else 0.0),
        Need("gathered layers", min(shape.num_parameters, _MAX_GATHERED) * width if layout.zero_stage == 3 else 0.0),
        Need("activations", _activation_bytes(shape, layout, engine.max_model_len)),
        Need("logits", copies * LOGIT_ROWS * shape.vocab_size * 4.0),
        Need("push buffers", _push_bytes(engine.transfer, trained * _BYTES[engine.dtype], largest_bytes)),
    ]


def _activation_bytes(shape: ModelShape, layout: DeepSpeedConfig, max_row_tokens: int) -> float:
    """Bytes for the longest micro-batch: what the backward pass needs of each layer, or with recomputation the layers'
    inputs and the inside of one layer. Attention keeps no square of the length (flash attention, or PyTorch's own)."""
    bounds = [layout.micro_batch_tokens]
    if layout.micro_batch_rows is not None:
        bounds.append(layout.micro_batch_rows * max_row_tokens)
    # A row longer than the bound has a pass of its own.
    tokens = max(max_row_tokens, min(bound for bound in bounds if bound is not None))
    # Two norms' inputs, queries, attention's output, the residual; keys and values; gate, up, their product, its input.
    inside = 5 * shape.hidden_size + 2 * shape.kv_size + 4 * shape.intermediate_size
    kept = shape.num_layers * (shape.hidden_size if layout.activation_checkpointing else inside)
    return tokens * _BYTES[layout.dtype] * (kept + (inside if layout.activation_checkpointing else 0.0))


def _push_bytes(transfer: TransferConfig, sent_bytes: float, largest_bytes: float) -> float:
    """On the sender's GPU: weights packed before the pause, and the buffers that travel, which for CUDA IPC hold the
    largest tensor. gloo packs in host memory."""
    packed_bytes = min(transfer.pack_gib * GIB, sent_bytes)
    match transfer:
        case GlooTransferConfig():
            return 0.0
        case NcclTransferConfig():
            return packed_bytes + _buffer_bytes(transfer)
        case IpcTransferConfig():
            return packed_bytes + max(_buffer_bytes(transfer), largest_bytes)


def _buffer_bytes(transfer: TransferConfig) -> float:
    match transfer:
        case GlooTransferConfig() | IpcTransferConfig():
            return transfer.bucket_mb * 1e6
        case NcclTransferConfig():
            return transfer.num_buffers * transfer.bucket_mb * 1e6


def engine_needs(shape: ModelShape, config: EngineConfig) -> list[Need]:
    """What one GPU of an engine holds besides keys and values."""
    width, ranks = _BYTES[config.dtype], config.tensor_parallel_size
    inside = 2 * shape.hidden_size + (2 * shape.kv_size + 2 * shape.intermediate_size) / ranks
    in_pass = min(_ENGINE_TOKENS, config.max_num_seqs * config.max_model_len)
    return [
        Need("weights", shape.num_parameters * width / ranks),
        Need("activations", in_pass * width * inside),
        Need("logits", config.max_num_seqs * shape.vocab_size * 4.0),
        Need("push buffers", _buffer_bytes(config.transfer)),
    ]


def kv_bytes_per_token(shape: ModelShape, config: EngineConfig) -> float:
    """On one GPU of an engine: a key and a value in every layer, its share of the heads."""
    return 2 * shape.num_layers * shape.kv_size * _BYTES[config.dtype] / config.tensor_parallel_size


def total(needs: Sequence[Need]) -> float:
    """Bytes of them all."""
    return sum(need.num_bytes for need in needs)


def check_learner(needs: Sequence[Need], gpu_gib: float | None) -> Finding:
    """Whether a rank fits its GPU; `gpu_gib` is None where nobody knows how large that is."""
    name = "learner's GPU"
    listed = ", ".join(f"{need.what} {need.num_bytes / GIB:.1f}" for need in needs if need.num_bytes >= GIB / 20)
    needed = total(needs) / GIB
    detail = f"{needed:.1f} GiB a rank ({listed})"
    if gpu_gib is None:
        return Finding(name, "warn", detail, "give its size: --gpu-gib 80")
    if needed > gpu_gib * (1 - SPARE_SHARE):
        advice = (
            "more learner.num_ranks with a higher learner.deepspeed.zero_stage, fewer micro_batch_tokens, "
            "activation_checkpointing=true, or kl_coefficient=0"
        )
        return Finding(name, "fail", f"{detail} of {gpu_gib:g} GiB", advice)
    return Finding(name, "ok", f"{detail} of {gpu_gib:g} GiB")


def check_engine(shape: ModelShape, config: EngineConfig, gpu_gib: float | None) -> Finding:
    """Whether an engine fits its GPUs, and how many responses it can hold at once."""
    name, needed = "engine's GPU", total(engine_needs(shape, config))
    if gpu_gib is None:
        detail = f"{needed / GIB:.1f} GiB besides keys and values"
        return Finding(name, "warn", detail, "give its size: --rollout-gpu-gib 40")
    left = max(0.0, config.gpu_memory_utilization * gpu_gib * GIB - needed)
    num_tokens = left / kv_bytes_per_token(shape, config)
    longest = num_tokens / config.max_model_len
    detail = (
        f"{needed / GIB:.1f} GiB, and {left / GIB:.1f} GiB for keys and values: {num_tokens:,.0f} tokens, "
        f"{longest:.0f} responses of the maximum length"
    )
    if longest < 1:
        advice = "raise rollout.engine.tensor_parallel_size or gpu_memory_utilization, or lower max_model_len"
        return Finding(name, "fail", detail, advice)
    if longest < config.max_num_seqs / 4:
        advice = (
            f"most of max_num_seqs={config.max_num_seqs} may have to wait; a higher tensor_parallel_size holds more"
        )
        return Finding(name, "warn", detail, advice)
    return Finding(name, "ok", detail)

"""Memory that a config needs on each GPU, computed before anything starts.

Formulas count what is large, with the number formats and the sharding that the config asks for; what PyTorch's
allocator wastes is allowed for by `SPARE_SHARE`. Sources: ZeRO (arXiv 1910.02054) for weights, gradients and optimiser
states, what autograd saves in transformers' layers for activations (tests/launch/machine/test_kept_activations.py),
DeepSpeed 0.19's source for the buffers in which it reduces gradients.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from launch.machine.findings import GIB
from launch.machine.shapes import ModelShape, VisionShape
from learner.config import REDUCE_BUCKET, DeepSpeedConfig, LearnerConfig
from rollout.config import EngineConfig, GlooTransferConfig, IpcTransferConfig, NcclTransferConfig, TransferConfig
from vlm.config import LOGIT_ROWS

SPARE_SHARE = 0.1
"""Share of a GPU's memory that fragmentation and libraries take."""
ASLEEP_BYTES = 2 * GIB
"""What an engine that sleeps still holds: CUDA's context, its graphs, NCCL's buffers. An estimate."""
# Logits are held four times: themselves, log-softmax, exponent, gradient. A bonus on the entropy has its own gradient.
_LOGIT_COPIES, _LOGIT_COPIES_WITH_ENTROPY = 4, 6
# DeepSpeed's stage3_max_live_parameters.
_MAX_GATHERED = 1_000_000_000
# vLLM processes a prompt in pieces of at most this many tokens.
_ENGINE_TOKENS = 8192
_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Need:
    """One of the things that take memory on a GPU."""

    what: str
    num_bytes: float


def learner_needs(
    shape: ModelShape, config: LearnerConfig, engine: EngineConfig, image_tokens: float = 0.0
) -> list[Need]:
    """What one learner rank holds at once in the middle of an update.

    Args:
        engine: gives the longest row and the way in which weights are sent.
        image_tokens: of the images that one pass encodes.
    """
    layout, ranks = config.deepspeed, config.num_ranks
    width = _BYTES[layout.dtype]
    copies = _LOGIT_COPIES_WITH_ENTROPY if config.entropy_coefficient else _LOGIT_COPIES
    largest_bytes = shape.vocab_size * shape.hidden_size * _BYTES[engine.dtype]
    sent_bytes = (shape.num_sent or shape.num_trained) * _BYTES[engine.dtype]
    return [
        *resident_needs(shape, config),
        Need("gradients", _gradient_bytes(shape, config)),
        Need("optimiser states", 0.0 if layout.optimizer_offload == "cpu" else _state_bytes(shape, config)),
        Need("reference", shape.num_parameters * width / _split(layout, 3, ranks) if _loads_reference(config) else 0.0),
        Need("gathered layers", min(shape.num_parameters, _MAX_GATHERED) * width if layout.zero_stage == 3 else 0.0),
        # Two buffers in turn, in float32.
        Need("gradient buckets", 2 * REDUCE_BUCKET * 4.0 if layout.zero_stage else 0.0),
        Need("activations", _activation_bytes(shape, layout, pass_tokens(layout, engine.max_model_len))),
        Need("images", _image_bytes(shape.vision, layout, image_tokens) if shape.vision else 0.0),
        # At the most; a batch with few images keeps less.
        Need("image features", layout.image_features_mib * 2.0**20 if config.keeps_image_features else 0.0),
        Need("logits", copies * LOGIT_ROWS * shape.vocab_size * 4.0),
        # The base and the sum in float32, and the sum rounded.
        Need("merged matrix", shape.largest_adapted * (4.0 + 4.0 + width)),
        Need("push buffers", _push_bytes(engine.transfer, sent_bytes, largest_bytes)),
    ]


def resident_needs(shape: ModelShape, config: LearnerConfig) -> list[Need]:
    """What a learner rank holds even while engines generate and it sleeps."""
    adapters = 0 if config.lora is None else shape.num_trained
    width = _BYTES[config.deepspeed.dtype]
    return [
        Need("weights", (shape.num_parameters + adapters) * width / _split(config.deepspeed, 3, config.num_ranks)),
    ]


def host_needs(shape: ModelShape, config: LearnerConfig, sleeps: bool) -> list[Need]:
    """What one learner rank on a GPU keeps in the host's memory.

    Args:
        sleeps: whether it gives its GPU's memory back while engines generate.
    """
    width, layout = _BYTES[config.deepspeed.dtype], config.deepspeed
    reference = shape.num_parameters * width / _split(layout, 3, config.num_ranks) if _loads_reference(config) else 0.0
    is_offloaded = layout.optimizer_offload == "cpu"
    # A step on the host takes its gradients there too, in float32.
    of_step = shape.num_trained * 4.0 / _split(layout, 1, config.num_ranks) if is_offloaded else 0.0
    states = _state_bytes(shape, config) if is_offloaded or sleeps else 0.0
    return [
        Need("optimiser states", states + of_step),
        Need("gradients", _gradient_bytes(shape, config) if sleeps else 0.0),
        Need("reference", reference if sleeps else 0.0),
    ]


def _loads_reference(config: LearnerConfig) -> bool:
    """With adapters the model itself is the reference, while they are off."""
    return config.kl_coefficient > 0 and config.lora is None


def _split(layout: DeepSpeedConfig, from_stage: int, num_ranks: int) -> int:
    """Into how many pieces something is cut that ZeRO splits from this stage on."""
    return num_ranks if layout.zero_stage >= from_stage else 1


def _gradient_bytes(shape: ModelShape, config: LearnerConfig) -> float:
    """bfloat16 is summed up in float32 beside itself."""
    layout = config.deepspeed
    width = _BYTES[layout.dtype] + (4 if layout.dtype == "bfloat16" else 0)
    return shape.num_trained * width / _split(layout, 2, config.num_ranks)


def _state_bytes(shape: ModelShape, config: LearnerConfig) -> float:
    """Moments, and for bfloat16 the float32 masters."""
    layout = config.deepspeed
    width = config.optimizer.kind.state_bytes + (4 if layout.dtype == "bfloat16" else 0)
    return shape.num_trained * width / _split(layout, 1, config.num_ranks)


def pass_tokens(layout: DeepSpeedConfig, max_row_tokens: int) -> int:
    """Tokens of the largest micro-batch. A row longer than the bound has a pass of its own."""
    bounds = [layout.micro_batch_tokens]
    if layout.micro_batch_rows is not None:
        bounds.append(layout.micro_batch_rows * max_row_tokens)
    return max(max_row_tokens, min(bound for bound in bounds if bound is not None))


def _activation_bytes(shape: ModelShape, layout: DeepSpeedConfig, tokens: int) -> float:
    """Bytes for a micro-batch: what the backward pass needs of each layer, or with recomputation the layers' inputs and
    the inside of one layer. Attention keeps no square of the length (flash attention, or PyTorch's own)."""
    inside = layer_bytes(shape, layout.dtype)
    if layout.activation_checkpointing:
        return tokens * (shape.num_layers * shape.hidden_size * _BYTES[layout.dtype] + inside)
    return tokens * shape.num_layers * inside


def layer_bytes(shape: ModelShape, dtype: str) -> float:
    """Bytes that one layer of the language model keeps of a token for its backward pass: gate, its SiLU, up and their
    product; normalised inputs of attention and MLP, as they are and weighted; queries, keys, values and attention's
    output. A norm keeps its input in float32 too, whatever the model's format."""
    width, heads = _BYTES[dtype], 1 if shape.has_head_norms else 0
    rounded = 4 * shape.intermediate_size + 4 * shape.hidden_size + (2 + heads) * (shape.query_size + shape.kv_size)
    return width * rounded + 4.0 * (2 * shape.hidden_size + heads * (shape.query_size + shape.kv_size))


def vision_layer_bytes(vision: VisionShape, dtype: str) -> float:
    """The same of a layer of the vision tower, for a patch. Attention also keeps queries, keys and values unrotated,
    in one piece, and its output in two orders."""
    mlp = (4 if vision.is_gated else 2) * vision.intermediate_size
    norms = 8.0 * vision.hidden_size if vision.is_gated else 0.0
    return _BYTES[dtype] * (11 * vision.hidden_size + mlp) + norms


def _image_bytes(vision: VisionShape, layout: DeepSpeedConfig, image_tokens: float) -> float:
    """Bytes for the images of a micro-batch: pixels in float32 and in the model's format, and the vision tower's
    activations, of which a frozen tower keeps no layer's."""
    width, patches = _BYTES[layout.dtype], image_tokens * vision.patches_per_token
    inside = vision_layer_bytes(vision, layout.dtype)
    if not vision.is_trained:
        kept = inside
    elif layout.activation_checkpointing:
        kept = inside + vision.num_layers * vision.hidden_size * width
    else:
        kept = vision.num_layers * inside
    return patches * (vision.patch_values * (4 + width) + kept)


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

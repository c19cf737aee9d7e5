"""Whether the attention that a config names is installed. That it works is tried when the learner starts."""

from collections.abc import Sequence

from launch.machine.findings import Finding
from launch.machine.inspection import Requirements, find_version
from vlm.attention import KERNEL_PACKAGES, WITH_PADDING, AttentionName

_BEST: AttentionName = "flash_attention_4"


def attention_fault(required: Requirements, packages: Sequence[str]) -> tuple[str, str] | None:
    """What is wrong with the attention that a config names, and what to do; None: nothing that can be told from here.

    Args:
        required: of the config.
        packages: those of `KERNEL_PACKAGES` that are installed.
    """
    name = required.attention
    if name in ("auto", *WITH_PADDING):
        return None
    named = f"learner.deepspeed.attention={name}"
    if not required.learner_on_gpu:
        return f"{named} computes on GPUs only, and this learner computes on CPUs", "choose auto or sdpa"
    if name in KERNEL_PACKAGES and KERNEL_PACKAGES[name][0] not in packages:
        package, remedy = KERNEL_PACKAGES[name]
        return f"{named}, but the package {package} is not installed", f"choose auto or sdpa, or install it: {remedy}"
    return None


def find_kernel_packages() -> list[str]:
    """Those of `KERNEL_PACKAGES` that are installed."""
    return [package for package, _ in KERNEL_PACKAGES.values() if find_version(package)]


def check_attention(required: Requirements, packages: Sequence[str], gpus: Sequence[str]) -> Finding:
    """Whether the attention that the config names is installed, and else whether the fastest is."""
    fault = attention_fault(required, packages)
    if fault is not None:
        return Finding("attention", "fail", *fault)
    best, remedy = KERNEL_PACKAGES[_BEST]
    if gpus and best not in packages:
        return Finding("attention", "warn", f"{best} is not installed; the learner takes PyTorch's own", remedy)
    if not gpus:
        return Finding("attention", "ok", "PyTorch's own; only GPUs need another")
    return Finding(
        "attention", "ok", f"{', '.join(packages)}; the learner tries it when it starts, and says what it took"
    )

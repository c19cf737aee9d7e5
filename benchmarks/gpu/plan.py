"""Which parts there are, which process measures which, in what order and how long each may take."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

PARTS = {
    "probe": "card, matrix product, copy speed, versions, attention that was chosen",
    "parity": "log-probabilities of learner and engine: both families, fp32 and bf16, 0, 1 and 5 regions",
    "push": "a whole push of weights, over CUDA IPC and over NCCL: GB/s, pause",
    "engine": "tokens/s through RolloutEngine, against raw vLLM and without regions",
    "learner": "an update: tokens/s, share of the card's peak, memory, for several layouts",
    "step": "the whole loop, 64 prompts × 8: seconds, tokens/s, share of each phase, with and without sleep",
    "demo_gpu": "the demo on one card: its marks, and how long it takes",
    "faults": "an engine killed in the middle of a push over NCCL: how soon that is known and mended",
}
"""What each part measures, in order of worth."""


@dataclass(frozen=True)
class Stage:
    """A method of a job's session."""

    part: str
    """The part that it belongs to; "" for what several need, such as loading."""
    method: str
    seconds: float
    """Its deadline, on a card of 2024 and on a laptop alike."""


@dataclass(frozen=True)
class Job:
    """A process, and what it does in order."""

    name: str
    session: str
    """`module:class`; the class is made with the `Bench`, see `benchmarks.gpu.session`."""
    stages: tuple[Stage, ...]
    needs_model: bool = True
    """Whether it uses the large model."""
    needs_card: bool = False
    """Without a card, another job does the very same."""


MODEL = Job("model", "benchmarks.gpu.models:Models", (Stage("", "build", 90),))

JOBS = (
    Job("probe", "benchmarks.gpu.probe:Probe", (Stage("probe", "probe", 90),), needs_model=False),
    Job("families", "benchmarks.gpu.parity:Families", (Stage("parity", "parity", 180),), needs_model=False),
    Job(
        "graphs-ipc",
        "benchmarks.gpu.served:GraphsOverIpc",
        (
            Stage("", "load", 180),
            Stage("parity", "parity", 60),
            Stage("engine", "engine", 60),
            Stage("push", "push", 60),
        ),
        needs_card=True,
    ),
    Job(
        "eager-nccl",
        "benchmarks.gpu.served:EagerOverNccl",
        (
            Stage("", "load", 120),
            Stage("parity", "parity", 60),
            Stage("push", "push", 60),
            Stage("engine", "engine", 60),
            Stage("faults", "faults", 150),
        ),
    ),
    Job("learner", "benchmarks.gpu.learning:Learning", (Stage("learner", "learner", 150),)),
    Job("step-shared", "benchmarks.gpu.step:SharedStep", (Stage("step", "step", 300),)),
    Job("step-sleep", "benchmarks.gpu.step:SleepingStep", (Stage("step", "step", 300),), needs_card=True),
    Job("demo", "benchmarks.gpu.demo:Demo", (Stage("demo_gpu", "demo", 300),), needs_model=False),
)


def chosen_jobs(jobs: Sequence[Job], only: Sequence[str] | None, on_gpu: bool) -> list[Job]:
    """The jobs, with the stages of some parts and what those need; a job without any is left out. Before the first that
    uses the large model, one makes it.

    Args:
        only: names of parts, or of jobs, in the order in which they are to run; None: all.
    """
    chosen: list[Job] = []
    for job in sorted(jobs, key=lambda job: _place(job, only or ())):
        whole = not only or job.name in only
        stages = tuple(stage for stage in job.stages if whole or not stage.part or stage.part in (only or ()))
        if any(stage.part for stage in stages) and (on_gpu or not job.needs_card):
            if job.needs_model and MODEL not in chosen:
                chosen.append(MODEL)
            chosen.append(replace(job, stages=stages))
    return chosen


def _place(job: Job, only: Sequence[str]) -> int:
    """Where a job stands in the order that is asked for."""
    names = {job.name, *(stage.part for stage in job.stages)}
    return next((place for place, name in enumerate(only) if name in names), len(only))


def processes_of(part: str) -> list[str]:
    """The jobs that measure something of a part."""
    return [job.name for job in JOBS if any(stage.part == part for stage in job.stages)]

"""Settings of the rollout side. Importing this needs neither vLLM nor torch."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from spatial.strict import StrictModel

Seconds = Annotated[float, Field(gt=0)]


class GlooTransferConfig(StrictModel):
    """Weights over TCP into CPU memory: the backend of `rollout.transfer.gloo_sender`."""

    backend: ClassVar[str] = "gloo"
    type: Literal["gloo"] = "gloo"
    bucket_mb: Annotated[float, Field(gt=0)] = 16.0
    """Tensors are packed into broadcasts of about this many MB; a larger tensor travels alone. Above 32 MB
    the engine's allocator takes fresh pages for each, which costs more than the copying."""
    pack_gib: Annotated[float, Field(ge=0)] = 64.0
    """Most GiB of weights that are gathered and packed in host memory before the engines pause; the rest is gathered
    while they wait."""


class NcclTransferConfig(StrictModel):
    """vLLM's packed NCCL backend, with deadlines: learner and engines on different GPUs."""

    backend: ClassVar[str] = "nccl_with_deadlines"
    type: Literal["nccl"] = "nccl"
    bucket_mb: Annotated[float, Field(gt=0)] = 1024.0
    """Size of one packing buffer in MB; each side holds `num_buffers` of them."""
    num_buffers: Annotated[int, Field(ge=1)] = 2
    """Buffers in flight at once."""
    pack_gib: Annotated[float, Field(ge=0)] = 4.0
    """Most GiB of weights that are gathered and packed on the sender's GPU before the engines pause; the rest is
    gathered while they wait."""


class IpcTransferConfig(StrictModel):
    """vLLM's CUDA IPC backend: learner and engine on the same GPU."""

    backend: ClassVar[str] = "ipc"
    sender_backend: ClassVar[str] = "ipc_in_step"
    type: Literal["ipc"] = "ipc"
    bucket_mb: Annotated[float, Field(gt=0)] = 1024.0
    """Size of the one shared packing buffer in MB; the largest tensor's size if that is more."""
    pack_gib: Annotated[float, Field(ge=0)] = 4.0
    """Most GiB of weights that are gathered and packed on the sender's GPU before the engines pause; the rest is
    gathered while they wait."""


TransferConfig = Annotated[GlooTransferConfig | NcclTransferConfig | IpcTransferConfig, Field(discriminator="type")]


class CanaryConfig(StrictModel):
    """After a push, an engine's log-probabilities of one fixed response are compared with the learner's own."""

    every: Annotated[int, Field(ge=0)] = 1
    """Versions from one comparison to the next; the first push to a set of engines always has one. 0 means none."""
    max_difference: Annotated[float, Field(gt=0)] | None = None
    """Largest mean difference in nats a token; an engine above it is taken out of service and gets the weights again.
    null means 1e-3 if learner and engine compute in float32, else 0.1."""


class EngineConfig(StrictModel):
    """One vLLM engine. The kind of log-probabilities is no setting: trajectories need processed ones."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of weights and activations."""
    tensor_parallel_size: Annotated[int, Field(ge=1)] = 1
    """Ranks (GPUs, or core sets on CPU) that share one copy of the model."""
    max_model_len: Annotated[int, Field(ge=1)] = 1024
    """Longest sequence in tokens: prompt, its image tokens and response together."""
    max_num_seqs: Annotated[int, Field(ge=1)] = 64
    """Most responses generated at once; further ones wait in the engine's queue."""
    max_images_per_prompt: Annotated[int, Field(ge=1)] = 1
    """Most images in a prompt."""
    kv_cache_gib: Annotated[float, Field(gt=0)] = 1.0
    """Memory for keys and values in GiB, on CPU only; on GPUs `gpu_memory_utilization` decides."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.85
    """Share of each GPU's memory for weights, activations and key-value cache."""
    enforce_eager: bool = True
    """True skips graph capture and compilation, for a quick start; false is faster on GPUs."""
    in_flight_kv: Literal["recompute", "keep"] = "recompute"
    """Whether keys and values of responses in flight during a push are recomputed with the new weights, or kept."""
    transfer: TransferConfig = GlooTransferConfig()
    """How new weights arrive."""
    verify_every: Annotated[int, Field(ge=1)] = 10
    """Each push verifies one tensor in this many by checksum, different ones each time; the first push to a set of
    engines verifies all."""
    canary: CanaryConfig = CanaryConfig()
    """The check that engines compute the same as the learner."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"
    """Level of vLLM's own log."""
    start_timeout_s: Seconds = 570.0
    """Most seconds for an engine to load and start."""
    generate_timeout_s: Seconds = 280.0
    """Most seconds for one response, waiting and pauses included."""
    control_timeout_s: Seconds = 60.0
    """Most seconds for each of pause, resume, cache resets, version, checksums, canary."""
    transfer_timeout_s: Seconds = 300.0
    """Most seconds for forming a transfer group, and for one whole weight update."""
    shutdown_timeout_s: Seconds = 15.0
    """Seconds for the engine's processes to end by themselves before they are killed."""


class SamplingConfig(StrictModel):
    """How training responses are drawn."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Divides the logits, in the engine and in the learner alike."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the probability mass that is sampled from; below 1 needs `allow_truncated_sampling`."""
    allow_truncated_sampling: bool = False
    """Accept that engine and learner log-probabilities differ if top_p < 1."""
    max_response_tokens: Annotated[int, Field(ge=1)] = 256
    """Longest response in tokens, end token included."""

    @model_validator(mode="after")
    def _truncation_is_wanted(self) -> Self:
        if self.top_p < 1 and not self.allow_truncated_sampling:
            raise ValueError(
                f"top_p={self.top_p}: the engine would renormalise over the kept tokens and the learner would not, so "
                "their log-probabilities would differ; use top_p=1, or set allow_truncated_sampling to accept it"
            )
        return self


class HealthConfig(StrictModel):
    """How the pool probes and replaces its workers."""

    probe_every_s: Seconds = 10.0
    """Seconds between two probes of a worker, each of which generates a token."""
    restart_pause_s: Seconds = 1.0
    """Seconds before a lost worker is started again; doubled with each further loss in a row."""
    max_restart_pause_s: Seconds = 60.0
    """Longest such pause."""
    max_failures: Annotated[int, Field(ge=1)] = 5
    """After this many losses in a row a worker is quarantined: not started again until the pool is scaled."""
    drain_s: Seconds = 60.0
    """Seconds for a worker to finish its responses when the pool shrinks; other workers generate the rest."""

    @model_validator(mode="after")
    def _pauses_can_grow(self) -> Self:
        if self.restart_pause_s > self.max_restart_pause_s:
            raise ValueError(
                f"health.restart_pause_s={self.restart_pause_s:g} is longer than health.max_restart_pause_s="
                f"{self.max_restart_pause_s:g} and would never pass in full: make the first shorter, or the "
                "second longer"
            )
        return self


class FixedScalingConfig(StrictModel):
    """The pool keeps the size that it was given."""

    type: Literal["fixed"] = "fixed"


class QueueScalingConfig(StrictModel):
    """The pool grows when the learner waits for groups, and shrinks when it has more of them than it can use."""

    type: Literal["queue"] = "queue"
    max_wait_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Largest share of a step's time that the learner may wait for groups; above it the pool grows."""
    min_busy_share: Annotated[float, Field(ge=0, le=1)] = 0.75
    """Share of a step's time in which one worker fewer would be busy; below it the pool shrinks."""
    num_steps: Annotated[int, Field(ge=1)] = 5
    """How many steps in a row must call for a change before the pool changes."""
    cool_down_s: Seconds = 120.0
    """Seconds from one change to the next."""


ScalingConfig = Annotated[FixedScalingConfig | QueueScalingConfig, Field(discriminator="type")]


class RolloutConfig(StrictModel):
    """The rollout pool: how many engines, the resources of each, how they sample."""

    health: HealthConfig = HealthConfig()
    """Probes, restarts, draining."""
    scaling: ScalingConfig = FixedScalingConfig()
    """Whether the number of workers follows the load ("queue") or stays fixed."""
    engine: EngineConfig = EngineConfig()
    """Settings of every engine; all have the same."""
    sampling: SamplingConfig = SamplingConfig()
    """How training responses are drawn."""
    num_workers: Annotated[int, Field(ge=0)] = 1
    """Rollout workers that a run begins with, one engine each; `sr-real scale` changes the number while it runs."""
    min_workers: Annotated[int, Field(ge=0)] = 0
    """Fewest workers that `sr-real scale` or `scaling` may choose."""
    max_workers: Annotated[int, Field(ge=1)] = 8
    """Most workers that `sr-real scale` or `scaling` may choose."""
    cpus_per_worker: Annotated[int, Field(ge=1)] = 1
    """CPU cores reserved for a worker."""
    gpus_per_worker: Annotated[int, Field(ge=0)] = 0
    """GPUs reserved for a worker: `engine.tensor_parallel_size`, or 0 to run it on CPU. In a shared layout
    (`cluster.layout`) it need not be given."""
    resources_per_worker: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Custom Ray resources of a worker, such as {rollout: 1}; workers then run only on nodes that offer them."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if not self.min_workers <= self.num_workers <= self.max_workers:
            raise ValueError(
                f"num_workers={self.num_workers} is not between min_workers={self.min_workers} and "
                f"max_workers={self.max_workers}; change the number, rollout.min_workers or rollout.max_workers"
            )
        if self.gpus_per_worker not in (0, self.engine.tensor_parallel_size):
            raise ValueError(
                f"gpus_per_worker={self.gpus_per_worker}, but engine.tensor_parallel_size="
                f"{self.engine.tensor_parallel_size}; a worker needs one GPU for each rank, or none"
            )
        if self.sampling.max_response_tokens >= self.engine.max_model_len:
            raise ValueError(
                f"sampling.max_response_tokens={self.sampling.max_response_tokens} leaves no room for a prompt in "
                f"engine.max_model_len={self.engine.max_model_len}; raise rollout.engine.max_model_len, or ask for "
                "shorter responses"
            )
        return self

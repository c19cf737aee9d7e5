"""Settings of the training loops and of the actors that run them. Importing this needs neither Ray nor torch."""

import math
import os
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from actors.layouts import LayoutConfig, Rooms, SplitLayoutConfig
from evaluation.config import EvaluationConfig
from learner.config import LearnerConfig
from rewards.config import RewardConfig
from rollout.config import RolloutConfig
from spatial.sample import ReasoningPath
from spatial.strict import StrictModel
from vlm.config import PromptConfig

LEAST_UPDATE_S = 1800.0
"""Seconds that an update may take at least, where its deadline is not set."""
LEAST_PUSH_MARGIN_S = 30
"""Seconds that a weight transfer needs after its own deadline, to end and to name the engine that failed."""


class GroupFilterConfig(StrictModel):
    """Which groups are trained on: those whose question the policy answers sometimes, and not always."""

    min_mean_reward: float = 0.2
    """Groups with a mean reward at or below this are left out."""
    max_mean_reward: float = 0.99
    """Groups with a mean reward at or above this are left out."""
    min_reward_std: Annotated[float, Field(ge=0)] | None = 1e-6
    """Groups whose rewards have a standard deviation at or below this are left out: none of their responses is better
    than another, so there is nothing to learn from them. null: no such bound."""
    max_rounds: Annotated[int, Field(ge=1)] = 30
    """A path may lose this many times its `groups_per_step` to the filter in one step; then the step trains on the
    groups that it has."""

    @model_validator(mode="after")
    def _lets_some_pass(self) -> Self:
        if self.min_mean_reward >= self.max_mean_reward:
            raise ValueError(
                f"filter.min_mean_reward={self.min_mean_reward:g} is not below filter.max_mean_reward="
                f"{self.max_mean_reward:g}: no group could pass"
            )
        return self


class LeaveOutConfig(StrictModel):
    """Leave failed responses out of their group; a group needs two that succeeded."""

    type: Literal["leave_out"] = "leave_out"

    @property
    def max_reissues(self) -> int:
        return 0


class ReissueConfig(StrictModel):
    """Generate the whole group again if one of its responses failed; after the last retry, leave failed ones out."""

    type: Literal["reissue"] = "reissue"
    max_reissues: Annotated[int, Field(ge=1)] = 2
    """Most retries per group; `groups_reissued` in the metrics counts them."""


FailureRule = Annotated[LeaveOutConfig | ReissueConfig, Field(discriminator="type")]


class BenchmarkConfig(StrictModel):
    """A benchmark whose questions are asked during training."""

    name: str
    """The benchmark's name, as `sr-real evaluate --benchmark` takes it."""
    folder: str
    """The folder of its files on the machine that starts the run, or the name of a data set in the hub's cache."""
    limit: Annotated[int, Field(ge=1)] | None = 100
    """Most questions to ask, spread evenly over the benchmark; null: all."""


class TrainingConfig(StrictModel):
    """Reinforcement learning over groups of responses."""

    num_steps: Annotated[int, Field(ge=0)]
    """Training steps; each makes one new weight version."""
    groups_per_step: dict[ReasoningPath, Annotated[int, Field(ge=0)]]
    """Groups that one step trains on, by path. All responses of a group take the same path."""
    group_size: Annotated[int, Field(ge=2)] = 5
    """Responses in a group, all to the same prompt."""
    kinds: dict[ReasoningPath, tuple[str, ...]] = Field(default_factory=dict)
    """Kinds of question to train on, by path; a path that is not named trains on every kind."""
    max_staleness: Annotated[int, Field(ge=0)] = 0
    """Most weight versions by which the weights that begin a response may be older than those it trains. 0: synchronous
    training."""
    filter: GroupFilterConfig = GroupFilterConfig()
    """Which groups are trained on."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """Attempts at a response, a score or a weight push before it counts as failed."""
    on_failure: FailureRule = LeaveOutConfig()
    """What happens to a group when some of its responses failed."""
    max_failure_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """The run stops and names the reasons when more than this share of all responses failed (after the first 100)."""
    max_learner_restarts: Annotated[int, Field(ge=0)] = 3
    """How many times a run replaces a learner that died or hung; the new one starts from the last checkpoint."""
    evaluate_every: Annotated[int, Field(ge=0)] = 0
    """Steps between two evaluations on validation questions, answered greedily while training continues; 0: none."""
    evaluate_questions: Annotated[int, Field(ge=1)] = 50
    """Questions per trained path in such an evaluation: the first ones of the validation split."""
    benchmarks: tuple[BenchmarkConfig, ...] = ()
    """Benchmarks to ask in each such evaluation, after the validation questions."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 10
    """Steps between checkpoints; the last step always makes one."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """How many of the newest checkpoints to keep."""
    record_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of groups whose responses are written to RUN/trajectories, spread evenly over the run."""

    @model_validator(mode="after")
    def _trains_on_something(self) -> Self:
        if not any(self.groups_per_step.values()):
            raise ValueError("groups_per_step: every path has 0 groups; give at least one path some")
        return self

    @model_validator(mode="after")
    def _asks_benchmarks_now_and_then(self) -> Self:
        names = [benchmark.name for benchmark in self.benchmarks]
        if names and not self.evaluate_every:
            raise ValueError("benchmarks are asked every evaluate_every versions, which is 0: give it a number")
        if len(set(names)) < len(names):
            raise ValueError(f"benchmarks: {', '.join(names)}: each may be named once")
        return self

    def is_recorded(self, index: int) -> bool:
        """Whether responses to the feed's prompt at `index` are recorded; a resumed run records the same ones."""
        return int((index + 1) * self.record_share) > int(index * self.record_share)


class DeadlineConfig(StrictModel):
    """Longest waits, in seconds. Past one, an error says who waited for whom."""

    place_s: Annotated[float, Field(gt=0)] = 1800
    """Finding room for an actor. On a cluster that scales itself, Ray waits for a node to be added and set up; on a
    single machine (`address: null`), the wait is two minutes at most."""
    start_s: Annotated[float, Field(gt=0)] = 600
    """Starting an actor that has found room: loading its model, up to the first answer."""
    generate_s: Annotated[float, Field(gt=0)] = 300
    """Generating one response, from the moment an engine gets the request. Time in the coordinator's queue does not
    count."""
    probe_s: Annotated[float, Field(gt=0)] = 30
    """The single token that a health probe requests from a rollout worker. After two missed probes the worker is
    replaced."""
    score_s: Annotated[float, Field(gt=0)] = 10
    """Scoring one group. Past it, the reward worker is killed and replaced, and each response is scored alone."""
    update_s: Annotated[float, Field(gt=0)] | None = None
    """One policy update. null: half an hour, or on GPUs three times what `sr-real doctor` estimates for an update whose
    responses all have their greatest length, if that is longer."""
    push_s: Annotated[float, Field(gt=0)] = 360
    """Each step of a weight push. Past it, the learner counts as lost, so this must be longer than
    `rollout.engine.transfer_timeout_s` by the time that a failed transfer needs to end (30 s)."""
    save_s: Annotated[float, Field(gt=0)] = 900
    """Writing or reading one checkpoint."""
    patience_s: Annotated[float, Field(gt=0)] = 120
    """A loop that waits longer than this is reported, with whom it waits for and the state of every worker. Nothing is
    ended."""
    stop_s: Annotated[float, Field(gt=0)] = 60
    """Ending all processes when a run is over; those that remain are killed."""
    finish_s: Annotated[float, Field(gt=0)] | None = None
    """Finishing the current update and writing a checkpoint, after Ctrl-C or SIGTERM. Past it, the run ends without
    this checkpoint, and `--resume` takes the one before. null: update_s + push_s + save_s. If a scheduler kills jobs
    some time after SIGTERM, set this to that time minus `stop_s`."""

    @property
    def longest_update_s(self) -> float:
        """`update_s`, or the least that it may stand for. What a run derives, it puts in the place of null."""
        return LEAST_UPDATE_S if self.update_s is None else self.update_s

    @property
    def until_checkpoint_s(self) -> float:
        """Longest time from the request to stop to its checkpoint."""
        return self.longest_update_s + self.push_s + self.save_s if self.finish_s is None else self.finish_s


class ClusterConfig(StrictModel):
    """Where Ray runs, and what each actor reserves."""

    address: str | None = None
    """A running cluster ("auto", "ray://…"); null: start one on this machine and end it with the run."""
    num_reward_workers: Annotated[int, Field(ge=1)] = 1
    """Processes that score responses."""
    reward_worker_cpus: Annotated[float, Field(ge=0)] = 0.25
    """Ray CPUs of one reward worker."""
    reward_memory_gib: Annotated[float, Field(gt=0)] | None = 2.0
    """Memory in GiB that scoring may take in one reward worker, on top of what it holds once the reward is loaded; past
    it, the worker is replaced. Processes that a grader starts do not count. null: no bound."""
    learner_rank_cpus: Annotated[float, Field(ge=0)] = 0.5
    """Ray CPUs of one learner rank."""
    layout: LayoutConfig = SplitLayoutConfig()
    """Whether learner and engines have cards of their own (`split`), or share every card (`shared`)."""
    mask_devices: bool = True
    """Whether a process on a GPU sees only its own cards. On some nodes NCCL connects cards worse if each process sees
    one alone; with false every process sees all cards of its node, its own ones first, and computes on those."""
    learner_rank_gpus: Annotated[float, Field(ge=0)] = 0
    """Ray GPUs of one learner rank: 1 on a GPU cluster. In a shared layout it need not be given."""
    learner_resources: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Custom Ray resources of one learner rank, such as {learner: 1}; it then runs only on nodes that offer them."""
    learner_threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads of one learner rank; null: the machine's cores divided by the number of ranks, or on GPUs PyTorch's
    choice."""
    peak_tflops: Annotated[float, Field(gt=0)] | None = None
    """What one learner card can do at most, in TFLOP/s of matrix products in the learner's number format; MFU is a
    share of it. null: what the card's maker states, for the kinds that `learner/cards.py` knows."""
    deadlines: DeadlineConfig = DeadlineConfig()
    """Longest waits."""

    @property
    def starts_ray(self) -> bool:
        """Whether the run starts a Ray of its own on this machine. In a job of `ray job submit` a cluster is there."""
        return self.address is None and "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ

    @property
    def learner_on_gpu(self) -> bool:
        """Whether learner ranks compute on GPUs."""
        return self.layout.type == "shared" or self.learner_rank_gpus > 0

    @property
    def takes_turns(self) -> bool:
        """Whether engines sleep while the learner works."""
        return self.layout.type == "shared" and self.layout.sleep

    def threads_of_rank(self, num_ranks: int) -> int | None:
        """CPU threads of a rank: as set, or an equal share of this machine's cores; None: PyTorch's choice."""
        if self.learner_threads is not None or self.learner_on_gpu:
            return self.learner_threads
        return max(1, len(os.sched_getaffinity(0)) // num_ranks)


class TelemetryConfig(StrictModel):
    """Where metrics are sent besides the run's folder."""

    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """"auto": online if a key is set on this machine, else offline (`wandb sync` uploads the run later)."""
    project: Annotated[str, Field(min_length=1)] = "sr-real"
    """The wandb project."""
    samples_every: Annotated[int, Field(ge=1)] = 10
    """Steps between two tables of responses, with their images, in wandb."""
    num_samples: Annotated[int, Field(ge=0)] = 4
    """Groups of each path in such a table, with one response each."""


class SessionConfig(StrictModel):
    """What a run does with its model and its data."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of data, weights, order and sampling."""
    prompt: PromptConfig = PromptConfig()
    """How a sample becomes a prompt."""
    training: TrainingConfig
    """Reinforcement learning: steps, groups, staleness, filter, checkpoints."""
    learner: LearnerConfig = LearnerConfig()
    """The policy update, and the cold start before it (`learner.sft`)."""
    rollout: RolloutConfig = RolloutConfig()
    """The engines, and how they sample."""
    rewards: RewardConfig = RewardConfig()
    """The reward: the weights and tables of its parts, or a function of your own."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation on held-out questions, before and after reinforcement learning."""
    telemetry: TelemetryConfig = TelemetryConfig()
    """What is sent to wandb."""
    cluster: ClusterConfig = ClusterConfig()
    """Ray: where it runs, what each actor reserves, and the longest waits."""
    max_bad_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Largest share of bad lines in a data file: up to it they are skipped and counted, above it the run stops."""

    @property
    def steps_per_update(self) -> int:
        """Optimiser steps of one update if none of its groups is missing; learning-rate schedules count with it."""
        return min(self.learner.optimizer_steps_per_batch, sum(self.training.groups_per_step.values()))

    @property
    def engines_on_gpu(self) -> bool:
        """Whether engines compute on GPUs."""
        return self.cluster.layout.type == "shared" or self.rollout.gpus_per_worker > 0

    @property
    def rooms(self) -> tuple[Rooms, ...]:
        """The parts of nodes that learner ranks and engines reserve."""
        cluster, ranks = self.cluster, self.learner.num_ranks
        gpus = cluster.learner_rank_gpus if cluster.layout.type == "split" else 0
        asked = {"CPU": cluster.learner_rank_cpus, "GPU": gpus} | cluster.learner_resources
        rank = {name: amount for name, amount in asked.items() if amount}
        return cluster.layout.rooms(ranks, rank, self.rollout)

    @property
    def num_gpus(self) -> int:
        """GPUs that learner ranks and engines reserve to begin with."""
        return math.ceil(sum(rooms.number * rooms.bundle.get("GPU", 0.0) for rooms in self.rooms))

    @property
    def max_workers(self) -> int:
        """Most rollout workers that the run may have."""
        return self.cluster.layout.max_workers(self.learner.num_ranks, self.rollout)

    @property
    def num_cpus(self) -> float:
        """CPUs that all actors of the run together reserve, with the most rollout workers that it may have."""
        return (
            self.max_workers * self.rollout.cpus_per_worker
            + self.learner.num_ranks * self.cluster.learner_rank_cpus
            + self.cluster.num_reward_workers * self.cluster.reward_worker_cpus
        )

    @property
    def custom_resources(self) -> dict[str, float]:
        """Custom Ray resources that they reserve."""
        workers = {name: self.max_workers * own for name, own in self.rollout.resources_per_worker.items()}
        ranks = {name: self.learner.num_ranks * own for name, own in self.cluster.learner_resources.items()}
        return {name: workers.get(name, 0.0) + ranks.get(name, 0.0) for name in workers | ranks}

    @model_validator(mode="after")
    def _the_layout_carries_both(self) -> Self:
        cluster, ranks = self.cluster, self.learner.num_ranks
        cluster.layout.check(ranks, cluster.learner_rank_gpus, self.rollout, self.training.max_staleness)
        return self

    @model_validator(mode="after")
    def _a_failed_transfer_costs_no_learner(self) -> Self:
        push_s, transfer_s = self.cluster.deadlines.push_s, self.rollout.engine.transfer_timeout_s
        if push_s < transfer_s + LEAST_PUSH_MARGIN_S:
            raise ValueError(
                f"cluster.deadlines.push_s={push_s:g} is not {LEAST_PUSH_MARGIN_S} s more than "
                f"rollout.engine.transfer_timeout_s={transfer_s:g}: a transfer that passes its own deadline would be "
                "cut off before it ends, and the learner would count as lost instead of the engine; raise push_s or "
                "lower transfer_timeout_s"
            )
        return self

    @model_validator(mode="after")
    def _inner_deadlines_can_fire(self) -> Self:
        """An outer deadline must not pass before an inner one, whose message says more."""
        engine, outer = self.rollout.engine, self.cluster.deadlines
        nested = (
            ("rollout.engine.start_timeout_s", engine.start_timeout_s, "start_s", outer.start_s),
            ("rollout.engine.generate_timeout_s", engine.generate_timeout_s, "generate_s", outer.generate_s),
            ("rollout.engine.control_timeout_s", engine.control_timeout_s, "push_s", outer.push_s),
            (
                "learner.deepspeed.collective_timeout_s",
                self.learner.deepspeed.collective_timeout_s,
                "update_s",
                outer.longest_update_s,
            ),
        )
        for inner, inner_s, name, outer_s in nested:
            if inner_s >= outer_s:
                raise ValueError(
                    f"{inner}={inner_s:g} is not shorter than cluster.deadlines.{name}={outer_s:g}, which would always "
                    f"pass first: set {inner} below {outer_s:g}, or cluster.deadlines.{name} above {inner_s:g}"
                )
        # Waited for twice: vLLM ends its processes, then the engine ends those that are left.
        if 2 * engine.shutdown_timeout_s >= outer.stop_s:
            raise ValueError(
                f"rollout.engine.shutdown_timeout_s={engine.shutdown_timeout_s:g} is waited for twice, and that is not "
                f"shorter than cluster.deadlines.stop_s={outer.stop_s:g}: make shutdown_timeout_s shorter, or stop_s "
                "longer"
            )
        return self

    @model_validator(mode="after")
    def _scaling_can_tell_who_waits(self) -> Self:
        if self.rollout.scaling.type == "queue" and self.training.max_staleness == 0:
            raise ValueError(
                "rollout.scaling.type='queue', but training.max_staleness=0: the learner then waits for groups in each "
                "step, however many workers there are; allow staleness, or set rollout.num_workers and type='fixed'"
            )
        return self

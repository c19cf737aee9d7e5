"""The files that describe a cluster: right in form, and large enough for the preset that they are made for.

No cloud is asked. The launcher's file is held against the schema that Ray ships, the RayJob against a typed model.
"""

import importlib.resources
import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
import yaml
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from launch.settings.config import RunConfig, load_config
from spatial.strict import StrictModel

ROOT = Path(__file__).parents[2]
PRESET = "cluster_8b"
Quantity = Annotated[str, Field(pattern=r"^\d+(Mi|Gi)?$")]


class Kube(StrictModel):
    """A part of a Kubernetes object: unknown fields are refused, for Kubernetes would drop them silently."""

    model_config = ConfigDict(alias_generator=to_camel)


class Resources(Kube):
    limits: dict[Literal["cpu", "memory", "nvidia.com/gpu"], Quantity]
    requests: dict[Literal["cpu", "memory", "nvidia.com/gpu"], Quantity]


class Port(Kube):
    container_port: int
    name: str


class Mount(Kube):
    name: str
    mount_path: str


class Container(Kube):
    name: str
    image: str
    resources: Resources
    ports: tuple[Port, ...] = ()
    volume_mounts: list[Mount]


class Volume(Kube):
    name: str
    persistent_volume_claim: dict[Literal["claimName"], str] | None = None
    empty_dir: dict[Literal["medium", "sizeLimit"], str] | None = None


class PodSpec(Kube):
    containers: Annotated[list[Container], Field(min_length=1, max_length=1)]
    volumes: list[Volume]


class Template(Kube):
    spec: PodSpec


class Head(Kube):
    ray_start_params: dict[str, str]
    template: Template


class Workers(Head):
    group_name: str
    replicas: int
    min_replicas: int
    max_replicas: int


class AutoscalerOptions(Kube):
    idle_timeout_seconds: int


class Cluster(Kube):
    ray_version: str
    enable_in_tree_autoscaling: Literal[True]
    autoscaler_options: AutoscalerOptions
    head_group_spec: Head
    worker_group_specs: list[Workers]


class JobSpec(Kube):
    entrypoint: str
    backoff_limit: int
    shutdown_after_job_finishes: bool
    ttl_seconds_after_finished: int
    ray_cluster_spec: Cluster


class RayJob(Kube):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: dict[Literal["name", "namespace"], str]
    spec: JobSpec


NodeTypes = Mapping[str, tuple[Mapping[str, float], int]]
"""By name: what one node offers, and how many there may be."""


@pytest.fixture(scope="module")
def launcher() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())


@pytest.fixture(scope="module")
def job() -> RayJob:
    return RayJob.model_validate(yaml.safe_load((ROOT / "launch/kubernetes/rayjob.yaml").read_text()), strict=False)


def test_the_launchers_file_fits_the_schema_that_ray_ships(launcher: dict[str, Any]) -> None:
    schema = json.loads((importlib.resources.files("ray.autoscaler") / "ray-schema.json").read_text())
    jsonschema.validate(launcher, schema)
    assert launcher["head_node_type"] in launcher["available_node_types"]
    with pytest.raises(jsonschema.ValidationError, match="min_worker"):
        jsonschema.validate({**launcher, "available_node_types": {"a": {"min_worker": 1}}}, schema)


def node_types_of_launcher(launcher: dict[str, Any]) -> NodeTypes:
    return {name: (node["resources"], node["max_workers"]) for name, node in launcher["available_node_types"].items()}


def node_types_of_job(job: RayJob) -> NodeTypes:
    found = {}
    for group in job.spec.ray_cluster_spec.worker_group_specs:
        (container,) = group.template.spec.containers
        assert container.resources.limits == container.resources.requests
        custom = json.loads(json.loads(group.ray_start_params["resources"]))
        offered = {"CPU": float(container.resources.limits["cpu"]), **custom}
        offered["GPU"] = float(container.resources.limits["nvidia.com/gpu"])
        found[group.group_name] = (offered, group.max_replicas)
    return found


def num_places(asked: Mapping[str, float], node_types: NodeTypes) -> int:
    """How many actors that ask for so much find room, once all nodes are there."""
    return sum(
        number * int(min(offered.get(name, 0) // amount for name, amount in asked.items() if amount))
        for offered, number in node_types.values()
    )


@pytest.mark.parametrize("kind", ["launcher", "job"])
def test_the_cluster_has_room_for_every_actor_of_the_preset(kind: str, launcher: dict[str, Any], job: RayJob) -> None:
    node_types = node_types_of_launcher(launcher) if kind == "launcher" else node_types_of_job(job)
    config: RunConfig = load_config(PRESET)
    rollout, cluster = config.rollout, config.cluster
    worker = {"CPU": rollout.cpus_per_worker, "GPU": rollout.gpus_per_worker, **rollout.resources_per_worker}
    rank = {"CPU": cluster.learner_rank_cpus, "GPU": cluster.learner_rank_gpus, **cluster.learner_resources}
    assert num_places(worker, node_types) >= rollout.max_workers
    assert num_places(rank, node_types) >= config.learner.num_ranks
    # Neither kind may take the other's GPUs.
    assert num_places({**worker, "learner": 1}, node_types) == num_places({**rank, "rollout": 1}, node_types) == 0


def test_the_job_has_rays_version_of_the_lock_and_a_head_without_gpus(job: RayJob) -> None:
    locked = re.search(r"^ray==(.*)$", (ROOT / "requirements/gpu.lock").read_text(), re.MULTILINE)
    assert locked is not None
    assert job.spec.ray_cluster_spec.ray_version == locked[1].strip()
    assert job.spec.ray_cluster_spec.head_group_spec.ray_start_params["num-gpus"] == "0"
    for group in [job.spec.ray_cluster_spec.head_group_spec, *job.spec.ray_cluster_spec.worker_group_specs]:
        volumes = {volume.name for volume in group.template.spec.volumes}
        assert {mount.name for mount in group.template.spec.containers[0].volume_mounts} == volumes


def test_the_jobs_commands_are_ones_that_there_are(job: RayJob) -> None:
    shell, option, script = shlex.split(job.spec.entrypoint)
    assert (shell, option) == ("bash", "-ec")
    shown = subprocess.run(
        [shell, option, script.replace("/opt/sr-real/.venv/bin/sr-real", "echo")], capture_output=True, text=True
    ).stdout
    commands = [line.split() for line in shown.splitlines()]
    assert [command[:4] for command in commands] == [
        [phase, "--config", PRESET, "--resume"] for phase in ("cold-start", "train")
    ]
    assert {load_config(PRESET, command[4:]).run for command in commands} == {"/shared/runs/mine"}


def test_a_misspelt_field_of_a_rayjob_is_refused() -> None:
    content = yaml.safe_load((ROOT / "launch/kubernetes/rayjob.yaml").read_text())
    content["spec"]["shutdownAfterJobFinish"] = True
    with pytest.raises(ValueError, match="shutdownAfterJobFinish"):
        RayJob.model_validate(content, strict=False)


def test_every_node_of_the_launcher_has_the_token_and_asks_for_it() -> None:
    cluster = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    assert cluster["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    starts = cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]
    begun = [command for command in starts if "ray start" in command]
    assert len(begun) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in begun)

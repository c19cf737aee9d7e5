"""The hook acts in whole interpreters, so every test starts one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.machine import torchvision_hook

# Stands in for a torchvision: its `extension` knows whether operators loaded, `describe` needs them to be declared.
FAKE_EXTENSION = """
import torch
{load_operators}
def _has_ops():
    return {has_operators}
"""
FAKE_DESCRIBE = "import torch\ntorch.library.register_fake('torchvision::nms')(lambda dets, scores, threshold: dets)\n"
LOAD_OPERATORS = """
library = torch.library.Library("torchvision", "FRAGMENT")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold, int of_torchvision=1) -> Tensor")
"""


def run_python(code: str, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs code in a new interpreter; what lies in `path` comes before everything that is installed."""
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else dict(os.environ)
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def write_fake_torchvision(folder: Path, *, has_operators: bool) -> None:
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("from . import extension\nfrom . import describe\n")
    load = LOAD_OPERATORS if has_operators else ""
    (package / "extension.py").write_text(FAKE_EXTENSION.format(load_operators=load, has_operators=has_operators))
    (package / "describe.py").write_text(FAKE_DESCRIBE)


@pytest.fixture
def site_folder(tmp_path: Path) -> Path:
    """A folder with the hook as the set-up installs it."""
    torchvision_hook.install(str(tmp_path))
    return tmp_path


def test_torchvision_imports_and_declares_nms_in_this_environment() -> None:
    result = run_python("import torchvision, torch; print(torch.ops.torchvision.nms)")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "torchvision.nms"


def test_an_interpreter_starts_with_the_hook_and_without_torch(site_folder: Path) -> None:
    code = f"""
import sys
sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != 'TorchvisionHook']
sys.modules.pop({torchvision_hook.MODULE_NAME!r}, None)
before = set(sys.modules)
sys.path.insert(0, {str(site_folder)!r})
exec(open({str(site_folder / (torchvision_hook.MODULE_NAME + ".pth"))!r}).read())
print(type(sys.meta_path[0]).__name__, sorted(set(sys.modules) - before))
"""
    result = run_python(code)
    assert result.stdout.strip() == f"TorchvisionHook ['{torchvision_hook.MODULE_NAME}']", result.stderr


def test_a_torchvision_without_operators_gets_them_declared(tmp_path: Path) -> None:
    write_fake_torchvision(tmp_path, has_operators=False)
    code = """
from launch.machine import torchvision_hook
torchvision_hook.activate()
import torchvision, torch
print(torch.ops.torchvision.nms.default._schema)
print(torch.ops.torchvision.qnms.default._schema)
"""
    result = run_python(code, path=tmp_path)
    assert result.stdout.splitlines() == [
        "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "torchvision::qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ], result.stderr


def test_a_torchvision_whose_operators_load_is_left_alone(tmp_path: Path) -> None:
    write_fake_torchvision(tmp_path, has_operators=True)
    code = """
from launch.machine import torchvision_hook
torchvision_hook.activate()
import torchvision, torch
print("of_torchvision" in str(torch.ops.torchvision.nms.default._schema), hasattr(torch.ops.torchvision, "qnms"))
"""
    result = run_python(code, path=tmp_path)
    assert result.stdout.strip() == "True False", result.stderr


def test_a_torch_built_for_cuda_is_left_alone(tmp_path: Path) -> None:
    write_fake_torchvision(tmp_path, has_operators=False)
    code = """
from launch.machine import torchvision_hook
torchvision_hook.activate()
import torch
torch.version.cuda = "13.0"
try:
    import torchvision
except RuntimeError as error:
    print("refused" if "nms" in str(error) else error)
"""
    result = run_python(code, path=tmp_path)
    assert result.stdout.strip() == "refused", result.stderr


def test_looking_for_torchvision_does_not_import_torch() -> None:
    code = """
import importlib.util, sys
from launch.machine import torchvision_hook
torchvision_hook.activate()
assert importlib.util.find_spec("torchvision") is not None
print("torch" in sys.modules)
"""
    result = run_python(code)
    assert result.stdout.strip() == "False", result.stderr


def test_activating_twice_leaves_one_hook() -> None:
    code = """
import sys
from launch.machine import torchvision_hook
torchvision_hook.activate()
torchvision_hook.activate()
print([type(finder).__name__ for finder in sys.meta_path].count("TorchvisionHook"))
"""
    result = run_python(code)
    assert result.stdout.strip() == "1", result.stderr

"""Makes a torchvision that was built for CUDA importable beside a CPU build of torch, and does nothing anywhere else.

vLLM's CPU package asks for plain `torchvision`, and a package index may answer with the CUDA build.  Its compiled
operators then cannot load, and `import torchvision` dies on "operator torchvision::nms does not exist", because its
Python part describes operators that nobody has declared.  Image transforms, all that transformers and vLLM need of
it, work without them.  So this hook declares the two operators and gives them no implementation: describing them then
works, and calling them still fails with torchvision's own explanation.

It has to act in every process (vLLM inspects model classes in a fresh interpreter), and before any plugin is loaded.
So the set-up copies this file into site-packages as `sr_real_torchvision_hook.py`, beside a `.pth` file that activates
it whenever an interpreter starts (`python launch/machine/torchvision_hook.py` does both).  A copy, because a `.pth`
line may run before the one that makes an editable install importable.  Nothing but `sys` is imported at the top: every
Python process of the environment pays for it.
"""

import sys

MODULE_NAME = "sr_real_torchvision_hook"
PTH_LINE = f"import {MODULE_NAME}; {MODULE_NAME}.activate()\n"
OPERATOR_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# torch forgets an operator when the library object that declared it dies.
_libraries_kept_alive: "list[object]" = []


def declare_operators_if_missing(torchvision_has_operators: bool) -> bool:
    """Declares the operators if torch is a CPU build and torchvision could not load its own; says whether it did."""
    import torch

    if torchvision_has_operators or torch.version.cuda is not None or hasattr(torch.ops.torchvision, "nms"):
        return False
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in OPERATOR_SCHEMAS:
        library.define(schema)
    _libraries_kept_alive.append(library)
    return True


class TorchvisionHook:
    """A finder that finds nothing: it uses the moment when torchvision has tried its operators, before describing them.

    torchvision imports its `extension` module first, which loads the operators and knows whether that went well, and
    only then the modules that describe them.  Asking torchvision itself leaves a build that works untouched.
    """

    def __init__(self) -> None:
        self.is_done = False

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Acts once, at the first torchvision module imported after `torchvision.extension`; always passes on."""
        if self.is_done or not name.startswith("torchvision."):
            return
        extension = sys.modules.get("torchvision.extension")
        if extension is None or getattr(extension.__spec__, "_initializing", False):
            return
        # Marked rather than removed: taking a finder out of the list that is being walked would skip the next one.
        self.is_done = True
        has_operators = getattr(extension, "_has_ops", None)
        if has_operators is not None:
            declare_operators_if_missing(has_operators())


def is_active() -> bool:
    """Whether this process has the hook; by name, since the copy in site-packages is another module than this one."""
    return any(type(finder).__name__ == TorchvisionHook.__name__ for finder in sys.meta_path)


def activate() -> None:
    """Puts the hook first in this process, once."""
    if not is_active():
        sys.meta_path.insert(0, TorchvisionHook())


def install(site_packages: str) -> None:
    """Copies this file into `site_packages`, with the `.pth` file that activates it in every later process."""
    import py_compile
    import shutil
    from pathlib import Path

    folder = Path(site_packages)
    shutil.copyfile(__file__, folder / f"{MODULE_NAME}.py")
    # Compiled here, since a process that may not write into site-packages would compile it again at every start.
    py_compile.compile(str(folder / f"{MODULE_NAME}.py"), doraise=True)
    # Last, so that an interrupted install never leaves a .pth that names a missing module.
    (folder / f"{MODULE_NAME}.pth").write_text(PTH_LINE, encoding="utf-8")


if __name__ == "__main__":
    import sysconfig

    install(sysconfig.get_paths()["purelib"])

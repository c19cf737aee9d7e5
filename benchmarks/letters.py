"""How often a letter is read from real answers, and how often it differs from the published extraction.

    git clone https://github.com/zeyofu/BLINK_Benchmark
    python -m benchmarks.letters --outputs BLINK_Benchmark/eval/saved_outputs

BLINK's authors published the answers of 19 models with the letter extracted from each: by a rule if one letter is in
brackets, otherwise by GPT-3.5, which may also find none. Our rule is compared with those of VLMEvalKit and lmms-eval,
which must be installed (they are development dependencies). `--show` prints answers for which ours differs. The last
line is JSON.
"""

import argparse
import importlib.util
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from types import ModuleType

from rich.console import Console
from rich.table import Table

from evaluation.benchmarks.letters import read_letter

NUM_OPTIONS = {
    **dict.fromkeys(("Art Style", "Jigsaw", "Multi-view Reasoning", "Object Localization", "Relative Depth"), 2),
    **dict.fromkeys(("Spatial Relation", "Visual Similarity"), 2),
    "Relative Reflectance": 3,
    **dict.fromkeys(("Counting", "Forensic Detection", "Functional Correspondence", "IQ Test"), 4),
    **dict.fromkeys(("Semantic Correspondence", "Visual Correspondence"), 4),
}
"""The number of options of BLINK's tasks; its published outputs do not repeat the options."""

Rule = Callable[[str, int], str | None]


@dataclass(frozen=True)
class Answer:
    model: str
    task: str
    text: str
    extracted: str | None
    """The published letter; None: no letter was found."""


def answers(outputs: Path, split: str) -> Iterator[Answer]:
    """All answers, except of models that saw several images joined into one: these cover only half of the tasks."""
    for file in sorted(outputs.glob("*/*.json")):
        if "concatenate" in file.parent.name:
            continue
        for row in json.loads(file.read_text(encoding="utf-8"))[split]:
            letter = re.match(r"\(([A-Y])\)", row["prediction"])  # Z stands for none
            task = file.stem.replace("_", " ")
            yield Answer(file.parent.name, task, row["full_prediction"], letter[1] if letter else None)


def rules() -> dict[str, Rule]:
    """The rules by name; the other harnesses' without the language model that they use as a fallback."""
    matching = _module("vlmeval", "utils/matching_util.py", "vlmeval.smp.log", get_logger=lambda name: None)
    spatial = _module("vlmeval", "dataset/utils/spatial_bench/matching_func.py")
    defaults: dict[str, Callable[[object], dict[str, object]]] = {"load_default_template_yaml": lambda file: {}}
    lmms_eval = _module(
        "lmms_eval", "tasks/blink/utils.py", "lmms_eval.tasks._task_utils.default_template_yaml", **defaults
    )

    def vlmevalkit(text: str, num_options: int) -> str | None:
        letter = matching.can_infer_option(text, dict.fromkeys(ascii_uppercase[:num_options]))
        return letter if letter and letter != "Z" else None

    return {
        "ours": read_letter,
        "VLMEvalKit": vlmevalkit,
        "VLMEvalKit, spatial": lambda text, n: spatial.can_match_option(text, ascii_uppercase[:n]) or None,
        # lmms-eval has no public name for its rule.
        "lmms-eval": lambda text, n: lmms_eval._extract_answer_letter(text, ascii_uppercase[:n]) or None,
    }


def _module(package: str, file: str, needed: str | None = None, **names: object) -> ModuleType:
    """One file of a package without the rest of the package, which would import models and decoders.

    `needed`: the module that the file imports from the package; `names`: what it finds in it instead.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed; `make setup` installs it with the development tools")
    path = Path(spec.submodule_search_locations[0], file)
    stand_ins = [] if needed is None else [needed.rsplit(".", n)[0] for n in range(needed.count("."), -1, -1)]
    before = {name: sys.modules.get(name) for name in stand_ins}
    for name in stand_ins:
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(names)
    try:
        found = importlib.util.spec_from_file_location(path.stem, path)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
    finally:
        for name, earlier in before.items():
            sys.modules.pop(name)
            if earlier is not None:
                sys.modules[name] = earlier
    return module


def count(rule: Rule, given: list[Answer], show: int) -> dict[str, float]:
    """How many answers a rule reads; for how many its letter differs from the extraction, or that has none."""
    counts = Counter[str]()
    for answer in given:
        letter = rule(answer.text, NUM_OPTIONS[answer.task])
        if letter is None:
            continue
        kind = "where_none" if answer.extracted is None else "same" if letter == answer.extracted else "other"
        counts[kind] += 1
        if kind == "other" and counts[kind] <= show:
            print(f"--- {answer.model}, {answer.task}: {letter}, extracted {answer.extracted}\n{answer.text}\n")
    read = counts.total()
    return {
        "read": read,
        "share_read": round(read / len(given), 4),
        "other": counts["other"],
        "share_other": round(counts["other"] / max(read, 1), 6),
        "where_none": counts["where_none"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outputs", type=Path, required=True, help="the folder eval/saved_outputs of BLINK_Benchmark")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--show", type=int, default=0, help="how many answers to print for which ours differs")
    options = parser.parse_args()
    given = list(answers(options.outputs, options.split))
    if not given:
        parser.error(f"--outputs {options.outputs}: there is no MODEL/TASK.json in it")
    found = {name: count(rule, given, options.show if name == "ours" else 0) for name, rule in rules().items()}
    table = Table(f"{len(given)} answers", "read", "share", "another letter", "a letter where there is none")
    for name, figures in found.items():
        table.add_row(name, *(f"{figures[key]:.3f}" if key == "share_read" else f"{figures[key]}" for key in _COLUMNS))
    Console().print(table)
    ratio = found["ours"]["share_read"] / max(found["VLMEvalKit"]["share_read"], 1e-9)
    print(f"ours reads {ratio:.2f} times as many as VLMEvalKit's rule")
    print(json.dumps({"answers": len(given), "split": options.split, "ratio": round(ratio, 3), "rules": found}))


_COLUMNS = ("read", "share_read", "other", "where_none")

if __name__ == "__main__":
    main()

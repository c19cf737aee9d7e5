"""Whether questions, chains and answers belong together: marks, grammar, leaks, repeats."""

import hashlib
import re
from collections import Counter, defaultdict

from corpora.checks.findings import Finding, Tally
from rewards.accuracy import is_right
from spatial.grammar import parse_response
from spatial.quantities import read_quantity
from spatial.sample import (
    COLOURS,
    SPECIAL_TOKEN,
    NumberAnswer,
    PointAnswer,
    ReasoningPath,
    SpatialSample,
    TextAnswer,
    Vector3,
)

_MARK = re.compile(rf"\b(?:({'|'.join(COLOURS)}) point|region ([1-9][0-9]?))\b", re.IGNORECASE)
_SAID_ANSWER = re.compile(r"\banswer\s*(?:is|:|=)\s*(.+)", re.IGNORECASE)
_NUMBER_IN_TEXT = re.compile(r"[+-]?\d+(?:\.\d+)?\s*(?:[a-zA-Z°]+)?")
_NUMBER_TOLERANCE = 0.05
_CENTER_TOLERANCE_M, _CENTER_TOLERANCE = 0.25, 0.1
_CONSTANT, _MIN_CONSTANT = 0.9, 20
"""If this share of at least this many questions of a kind have the same answer, it can be learned without looking."""
_MAX_ANSWERS = 1000
"""Most different answers that are counted per kind; more are not needed to find a common one."""


class MarkCheck:
    """Whether a question mentions the regions of its sample, and no others."""

    def __init__(self) -> None:
        self._unknown = Tally(
            'questions speak of a mark ("red point", "region 3") that is none of their regions',
            "give the region, or name the one that is meant",
        )
        self._unused = Tally(
            "samples have a region that neither question nor answer mentions by its label",
            'name it as prompts do ("red point", "region 3"), or leave it out',
        )

    def add(self, sample: SpatialSample) -> bool:
        text = sample.question.casefold()
        said = {colour.lower() or number for colour, number in _MARK.findall(text)}
        marks = {region.mark for region in sample.regions}
        is_unknown = bool(said) and self._unknown.add(sample.sample_id, not said <= marks)
        is_unused = bool(marks) and self._unused.add(sample.sample_id, not marks <= said)
        return is_unknown or is_unused

    def findings(self) -> list[Finding]:
        return self._unknown.findings() + self._unused.findings()


class ChainCheck:
    """Whether chains are responses that the rewards would give full marks."""

    def __init__(self) -> None:
        self._no_answer = Tally("chains have no answer", "end them with <answer>…</answer>")
        self._malformed = Tally(
            "chains do not follow their path's grammar",
            "write LOR as <think>…</think><answer>…</answer>, DTR with <detect>…</detect> before it, direct as "
            "<answer>…</answer> (spatial/grammar.py)",
        )
        self._other_answer = Tally("chains give another answer than their sample", "correct the chain or the answer")
        self._other_centers = Tally(
            "chains detect centres that are not those of their sample's regions",
            "correct the chain or the regions' centres",
        )
        self._no_region = Tally(
            "chains detect a mark that is none of their sample's regions", "name regions by their labels"
        )

    def add(self, sample: SpatialSample) -> bool:
        looks_wrong = False
        for path, chain in sample.chains.items():
            parsed = parse_response(path, chain)
            looks_wrong |= self._no_answer.add(sample.sample_id, not parsed.answer)
            looks_wrong |= self._malformed.add(sample.sample_id, not parsed.well_formed)
            if parsed.answer:
                looks_wrong |= self._other_answer.add(sample.sample_id, not _is_same(parsed.answer, sample))
            # Only centres in the sample's own frame are comparable with its regions.
            if path is ReasoningPath.DTR and parsed.boxes and parsed.reference_frame is None:
                looks_wrong |= self._add_boxes(sample, [(box.name, box.center_m) for box in parsed.boxes])
        return looks_wrong

    def _add_boxes(self, sample: SpatialSample, boxes: list[tuple[str, Vector3]]) -> bool:
        by_mark = {region.mark: region for region in sample.regions}
        named = [(_mark_in(name), center_m) for name, center_m in boxes]
        looks_wrong = self._no_region.add(sample.sample_id, any(mark and mark not in by_mark for mark, _ in named))
        pairs = [(by_mark[mark].center_m, center_m) for mark, center_m in named if mark in by_mark]
        known = [(true, said) for true, said in pairs if true is not None]
        if known:
            looks_wrong |= self._other_centers.add(sample.sample_id, any(_are_apart(*pair) for pair in known))
        return looks_wrong

    def findings(self) -> list[Finding]:
        tallies = (self._no_answer, self._malformed, self._other_answer, self._other_centers, self._no_region)
        return [finding for tally in tallies for finding in tally.findings()]


def _mark_in(name: str) -> str:
    match = _MARK.search(name)
    return (match[1] or match[2]).lower() if match else ""


def _are_apart(one: Vector3, other: Vector3) -> bool:
    size = max(map(abs, one))
    return any(abs(a - b) > max(_CENTER_TOLERANCE_M, _CENTER_TOLERANCE * size) for a, b in zip(one, other, strict=True))


def _is_same(said: str, sample: SpatialSample) -> bool:
    truth = sample.answer
    if isinstance(truth, NumberAnswer):
        value = read_quantity(said, truth.unit)
        # A chain may round; the tolerance of an evaluation is much wider.
        return value is not None and abs(value - truth.value) <= max(_NUMBER_TOLERANCE * abs(truth.value), 0.01)
    return is_right(said, truth)


class LeakCheck:
    """Whether a question gives its answer away, and whether texts contain special tokens."""

    def __init__(self) -> None:
        self._leaks = Tally("questions tell their own answer", "take it out of the question")
        self._special = Tally(
            "answers hold a special token, which no response can", "replace the token with ordinary words"
        )

    def add(self, sample: SpatialSample) -> bool:
        is_leak = self._leaks.add(sample.sample_id, _tells_answer(sample))
        texts = [region.name for region in sample.regions]
        texts += [sample.answer.text] if isinstance(sample.answer, TextAnswer) else []
        return self._special.add(sample.sample_id, any(map(SPECIAL_TOKEN.search, texts))) or is_leak

    def findings(self) -> list[Finding]:
        return self._leaks.findings() + self._special.findings()


def _tells_answer(sample: SpatialSample) -> bool:
    question, answer = sample.question, sample.answer
    if "<answer>" in question:
        return True
    said = _SAID_ANSWER.search(question)
    if said and is_right(said[1].strip().rstrip("."), answer):
        return True
    match answer:
        case NumberAnswer(unit=unit) if unit not in ("count", "oclock"):
            values = (read_quantity(number, unit) for number in _NUMBER_IN_TEXT.findall(question))
            return answer.value not in (0.0, 1.0) and any(value == answer.value for value in values)
        case TextAnswer(text=text):
            words = text.strip().casefold()
            return len(words.split()) > 1 and words in question.casefold() and " or " not in question
        case PointAnswer(center_m=center_m):
            return ",".join(f"{value:.2f}" for value in center_m) in question.replace(" ", "")
    return False


class RepeatCheck:
    """Whether samples repeat others or contradict them, and whether an answer can be guessed without looking."""

    def __init__(self) -> None:
        self._repeats = Tally(
            "samples repeat an earlier one under another id",
            "take them out: they count twice in training and in tables",
            is_wrong=False,
        )
        self._contradicts = Tally(
            "samples ask what an earlier one asks, and have another answer", "find out which is right, and keep that"
        )
        self._answers: dict[bytes, bytes] = {}
        """Answers by question so far, both as hashes, so that millions fit into memory."""
        self._by_kind: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, sample: SpatialSample) -> bool:
        regions = [(region.mark, region.image_index, region.box_xyxy_px) for region in sample.regions]
        asked = _digest(repr((sample.question, [image.sha256 for image in sample.images], regions)))
        answer = sample.answer.model_dump_json(exclude={"type", "num_options"})
        earlier = self._answers.setdefault(asked, b"")
        is_repeat = self._repeats.add(sample.sample_id, earlier == _digest(answer))
        is_contradiction = self._contradicts.add(sample.sample_id, earlier not in (b"", _digest(answer)))
        if not earlier:
            self._answers[asked] = _digest(answer)
        answers = self._by_kind[sample.kind]
        if answer in answers or len(answers) < _MAX_ANSWERS:
            answers[answer] += 1
        else:
            answers["another"] += 1
        return is_repeat or is_contradiction

    def findings(self) -> list[Finding]:
        found = self._repeats.findings() + self._contradicts.findings()
        for kind, answers in self._by_kind.items():
            (answer, num), total = answers.most_common(1)[0], answers.total()
            if total >= _MIN_CONSTANT and num >= _CONSTANT * total and answer != "another":
                words = f"questions of kind '{kind}' have the same answer {answer}"
                remedy = "a model learns it without looking; balance the answers, or leave the kind out"
                found.append(Finding(words, remedy, num, total, (), is_wrong=False))
        return found


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()

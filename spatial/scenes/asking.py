"""Asking about one procedural scene: its samples, of kinds drawn by weight."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spatial.questions.choosing import choose_subjects
from spatial.questions.kinds import KINDS
from spatial.questions.margins import Margins
from spatial.questions.question import Question, Subject
from spatial.questions.spoil import spoil
from spatial.questions.voices import BRIEF, Style
from spatial.sample import Camera, DepthRef, ImageRef, Mark, ReasoningPath, SeenObject, SpatialSample
from spatial.scenes.config import Family, SceneConfig
from spatial.scenes.scene import SceneTruth

STYLE = Style(BRIEF, Margins(rounding_share=1.0, max_overlap=1.0))
"""Margins are the defaults, without a limit to rounding, since a chain must lead to the exact answer, and to overlap,
since every object of a scene can be seen well enough."""

_MAX_TRIES = 6


@dataclass(frozen=True)
class SceneAsker:
    """Turns one scene into samples."""

    config: SceneConfig
    name: str
    family: Family
    image: ImageRef
    depths: tuple[DepthRef, ...]
    camera: Camera
    scene: SceneTruth

    def ask_reasoned(self, rng: np.random.Generator) -> list[SpatialSample]:
        """Questions for the two paths that reason, no kind twice on one path."""
        wanted = self.config.questions_per_scene
        # The fraction is drawn, so that the share holds over many scenes whatever the number of questions.
        num_dtr = int(wanted * self.config.dtr_share + rng.random())
        samples: list[SpatialSample] = []
        for path, number, weights in (
            (ReasoningPath.LOR, wanted - num_dtr, self.config.lor_weights),
            (ReasoningPath.DTR, num_dtr, self.config.dtr_weights),
        ):
            asked = 0
            for kind in _kinds_in_turn(weights, rng):
                if asked == number:
                    break
                sample = self._ask(kind, path, rng, slot=len(samples))
                if sample is not None:
                    samples.append(sample)
                    asked += 1
        return samples

    def ask_direct(self, rng: np.random.Generator, first_slot: int) -> list[SpatialSample]:
        """Questions that are answered at once: kinds drawn by weight, no question twice."""
        wanted, weights = self.config.direct_per_scene, self.config.direct_weights
        if wanted == 0:
            return []
        share = np.array(list(weights.values()))
        samples: dict[str, SpatialSample] = {}
        for kind in rng.choice(list(weights), _MAX_TRIES * wanted, p=share / share.sum()):
            sample = self._ask(str(kind), ReasoningPath.DIRECT, rng, slot=first_slot + len(samples))
            if sample is not None:
                # The same region is the same question, even if it has another mark this time.
                samples.setdefault(f"{kind} {[r.box_xyxy_px for r in sample.regions] or sample.question}", sample)
            if len(samples) == wanted:
                break
        return list(samples.values())

    def _ask(self, name: str, path: ReasoningPath, rng: np.random.Generator, slot: int) -> SpatialSample | None:
        """A question of this kind with a chain for each of its paths; None when the scene has no clear one."""
        kind = KINDS[name]
        is_marked = path is ReasoningPath.DTR or kind.phrasing(STYLE.voice.name).is_marked
        both = path is ReasoningPath.DTR and self.config.both_paths
        paths = (ReasoningPath.LOR, ReasoningPath.DTR) if both else (path,)
        for _ in range(_MAX_TRIES):
            things = choose_subjects(kind, self.scene, STYLE, rng)
            if things is None:
                return None
            subjects = (
                Subject.all_marked(things, self._draw_marks(len(things), rng))
                if is_marked
                else tuple(map(Subject.named, things))
            )
            question = kind.ask(subjects, self.scene, STYLE, rng)
            chains = {each: chain for each in paths if (chain := kind.chain(question, STYLE, each)) is not None}
            if len(chains) == len(paths):
                return self._sample(question, chains, rng, slot)
        return None

    def _draw_marks(self, number: int, rng: np.random.Generator) -> tuple[Mark, ...]:
        order = rng.permutation(len(self.config.marks))
        return tuple(self.config.marks[i] for i in order[:number])

    def _spoil(self, path: ReasoningPath, chain: str, question: Question, rng: np.random.Generator) -> str:
        """The chain, or, with the configured share, one that ends in a wrong answer."""
        is_spoilt = path is not ReasoningPath.DIRECT and rng.random() < self.config.wrong_chain_share
        return spoil(chain, question.answer, rng) if is_spoilt else chain

    def _sample(
        self, question: Question, chains: dict[ReasoningPath, str], rng: np.random.Generator, slot: int
    ) -> SpatialSample:
        paths = tuple(chains)
        if self.config.wrong_chain_share > 0:
            chains = {path: self._spoil(path, chain, question, rng) for path, chain in chains.items()}
        seen = tuple(SeenObject(name=truth.name, box_xyxy_px=truth.box_xyxy_px) for truth in self.scene.objects)
        return SpatialSample(
            sample_id=f"{self.name}-q{slot}-{paths[0].value if len(paths) == 1 else 'both'}",
            domain=self.family,
            kind=question.kind,
            paths=paths,
            images=(self.image,),
            question=question.text,
            answer=question.answer,
            regions=question.regions,
            objects=seen if self.config.name_objects else (),
            camera=self.camera,
            depths=self.depths,
            chains=chains,
        )


def _kinds_in_turn(weights: Mapping[str, float], rng: np.random.Generator) -> list[str]:
    """Kinds in random order, heavier ones earlier."""
    kinds = [kind for kind, weight in weights.items() if weight > 0]
    if not kinds:
        return []
    share = np.array([weights[kind] for kind in kinds])
    return [str(kind) for kind in rng.choice(kinds, len(kinds), replace=False, p=share / share.sum())]

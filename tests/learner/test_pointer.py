"""The pointer loss: whose name, which tokens, and the very attention of the model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from learner.batch import SftRow
from learner.config import DeepSpeedConfig, LearnerConfig, PointerConfig, SftConfig
from learner.engine import LearnerEngine
from learner.pointer import Mention, Pointer, find_mentions
from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, ReasoningPath, SeenObject, SpatialSample
from tests.learner.toy import TINY, free_port, make_config
from vlm.attention import Attention
from vlm.config import PromptConfig
from vlm.policy import PolicyBatch, PolicyRow, load_policy
from vlm.prompt import PromptEncoder
from vlm.tiny import build_tiny_checkpoint

QUESTION = "Which is closer? red cube (A) or blue cone (B)"
RESPONSE = "<answer>blue cone</answer>"


class Scene:
    def __init__(self, folder: Path) -> None:
        self.model = folder / "model"
        build_tiny_checkpoint(self.model, [QUESTION, RESPONSE, " red cube answer blue cone"], TINY, seed=0)
        store = ImageStore(folder / "images")
        pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        self.sample = SpatialSample(
            sample_id="s",
            domain="toy",
            kind="closer",
            paths=(ReasoningPath.DIRECT,),
            images=(store.put(pixels),),
            question=QUESTION,
            answer=ChoiceAnswer(letter="A", num_options=2),
            # The image has 2 × 2 tokens of 32 pixels.
            objects=(
                SeenObject(name="red cube", box_xyxy_px=(0.0, 0.0, 20.0, 20.0)),
                SeenObject(name="blue cone", box_xyxy_px=(20.0, 40.0, 60.0, 60.0)),
            ),
            chains={ReasoningPath.DIRECT: RESPONSE},
        )
        self.encoder = PromptEncoder(self.model, store, PromptConfig(instructions="short"))
        self.row = SftRow.from_chain(self.sample, ReasoningPath.DIRECT, self.encoder)
        self.ids = [*self.row.prompt_token_ids, *self.row.response_token_ids]

    def batch(self, *responses: tuple[int, ...]) -> PolicyBatch:
        vision = self.encoder.vision_inputs(self.sample, ReasoningPath.LOR)
        rows = [
            PolicyRow(self.row.prompt_token_ids, response, vision)
            for response in responses or (self.row.response_token_ids,)
        ]
        return PolicyBatch.collate(rows, self.encoder.pad_token_id, self.encoder.image_token_id)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("pointer"))


def test_each_mention_points_at_the_tokens_that_its_object_touches(scene: Scene) -> None:
    first_image_token = scene.ids.index(scene.encoder.image_token_id)
    found = [
        (scene.encoder.tokenizer.decode(scene.ids[m.token - 1 : m.token + 1]).strip(), m.targets)
        for m in find_mentions([scene.row], scene.encoder)
    ]
    top_left, bottom = (first_image_token,), (first_image_token + 2, first_image_token + 3)
    # In the prompt both, in the response the cone once more, at the start of the answer.
    assert sorted(found) == [("blue cone", bottom), ("blue cone", bottom), ("red cube", top_left)]


@pytest.mark.parametrize(("layer", "head"), [(0, 0), (1, 1)])
def test_the_watched_attention_is_the_models_own(scene: Scene, layer: int, head: int) -> None:
    policy = load_policy(scene.model, attention=Attention("eager", "eager"))
    pointer = Pointer(policy.vlm, PointerConfig(layer=layer, head=head))
    batch = scene.batch()
    mentions = [Mention(0, len(scene.ids) - 2, (3, 5, 6)), Mention(0, 9, (3, 20))]
    with torch.no_grad():
        attentions = policy.vlm.model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            pixel_values=batch.pixel_values,
            image_grid_thw=batch.image_grid_thw,
            regions=batch.regions,
            use_cache=False,
            output_attentions=True,
        ).attentions[layer][0, head]
        watched = pointer.attention_on_targets(mentions)
    expected = torch.stack([attentions[len(scene.ids) - 2, [3, 5, 6]].sum(), attentions[9, 3]])  # 20 comes after 9
    torch.testing.assert_close(watched, expected, atol=1e-6, rtol=0)


def test_packed_rows_are_watched_as_padded_ones_are(scene: Scene) -> None:
    mentions = [Mention(0, 9, (3, 5)), Mention(1, len(scene.ids) - 2, (3, 5, 6)), Mention(1, 9, (3,))]
    watched = []
    for packed in (False, True):
        policy = load_policy(scene.model, attention=Attention(packed=packed))
        pointer = Pointer(policy.vlm, PointerConfig(layer=1, head=1))
        with torch.no_grad():
            policy(scene.batch(scene.row.response_token_ids[:3], scene.row.response_token_ids))
            watched.append(pointer.attention_on_targets(mentions))
    torch.testing.assert_close(watched[1], watched[0], atol=1e-6, rtol=0)


@pytest.mark.stack
def test_the_loss_teaches_the_head_where_to_look(scene: Scene) -> None:
    config = make_config(sft=SftConfig(pointer=PointerConfig(weight=1.0)))
    engine = LearnerEngine(scene.model, scene.encoder, config, master_port=free_port())
    try:
        losses = [engine.sft_step([scene.row])["pointer"] for _ in range(12)]
    finally:
        engine.close()
    assert losses[-1] < 0.5 * losses[0], losses


@pytest.mark.stack
def test_the_loss_is_a_mean_over_mentions_however_the_batch_is_cut(scene: Scene) -> None:
    # Two mentions in the question alone, three with the response's: rows would not weigh what mentions do.
    bare = scene.sample.replace(sample_id="bare", chains={ReasoningPath.DIRECT: "<answer>blue blue</answer>"})
    rows = [scene.row, SftRow.from_chain(bare, ReasoningPath.DIRECT, scene.encoder)]
    assert [len(find_mentions([row], scene.encoder)) for row in rows] == [3, 2]
    found = []
    for max_rows in (2, 1):
        config = make_config(sft=SftConfig(pointer=PointerConfig(weight=1.0)))
        config = config.replace(deepspeed=config.deepspeed.replace(micro_batch_rows=max_rows))
        engine = LearnerEngine(scene.model, scene.encoder, config, master_port=free_port())
        found.append(engine.sft_step(rows))
        engine.close()
    whole, cut = found
    for name in ("loss", "grad_norm"):
        assert cut[name] == pytest.approx(whole[name], rel=1e-5)


def test_a_pointer_needs_a_layer_and_a_head_that_exist(scene: Scene) -> None:
    vlm = load_policy(scene.model).vlm
    with pytest.raises(ValueError, match=r"layer=7, head=0, but the model has 2 layers of 2 heads"):
        Pointer(vlm, PointerConfig(layer=7))
    with pytest.raises(ValueError, match="neither ZeRO 3 nor"):
        LearnerConfig(deepspeed=DeepSpeedConfig(zero_stage=3), sft=SftConfig(pointer=PointerConfig()))

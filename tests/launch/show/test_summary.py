"""A run's figures in the terminal."""

from launch.show.summary import describe_cards


def test_what_gpus_did_is_told_as_means_over_the_second_half_of_the_steps() -> None:
    def step(number: int, rate: float) -> dict[str, object]:
        return {
            "step": number,
            "gpu/kind": "NVIDIA H100 80GB HBM3",
            "gpu/num_cards": 2,
            "gpu/tokens_per_s": rate,
            "gpu/busy_mean": 0.7,
            "time/step_s": 40.0,
            "gpu/mfu": 0.3 if number > 1 else None,
        }

    steps = [step(1, 10.0), step(2, 20.0), step(3, 7000.0), step(4, 8000.0)]
    assert describe_cards(steps) == (
        "2 × NVIDIA H100 80GB HBM3: 40.0 s a step, 7,500 tokens/s a GPU, MFU of the learner 30.0%, "
        "GPUs at work 70% of the time"
    )
    assert describe_cards([{"step": 1, "time/step_s": 40.0}]) == describe_cards([]) == ""

"""What an actor sees of the machine."""

from actors.placement import runtime_env


def test_an_actor_that_asks_for_no_gpu_sees_none() -> None:
    assert runtime_env(0, OMP_NUM_THREADS="2") == {"env_vars": {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}}
    # Ray gives it its own.
    assert runtime_env(0.5) == {"env_vars": {}}

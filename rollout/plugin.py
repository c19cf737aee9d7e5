"""What vLLM needs from us, registered in every one of its processes (entry point `vllm.general_plugins`).

The learner calls `register` itself: it sends weights without running an engine.
"""

import functools
import multiprocessing
import os
import signal
import threading
import time

from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory, WeightTransferTrainerFactory


@functools.cache
def register() -> None:
    """Register the gloo weight-transfer backend; in vLLM's child processes also the watch over their parent."""
    WeightTransferEngineFactory.register_engine("gloo", "rollout.gloo_transfer", "GlooWeightTransferEngine")
    WeightTransferTrainerFactory.register_engine("gloo", "rollout.gloo_transfer", "GlooTrainerWeightTransferEngine")
    if multiprocessing.parent_process() is not None:
        threading.Thread(target=_die_with_parent, args=(os.getppid(),), name="die-with-parent", daemon=True).start()


def _die_with_parent(parent_pid: int) -> None:
    """End this process soon after its parent has gone: a killed actor must not leave a 3 GB engine behind.

    Polling, because PR_SET_PDEATHSIG fires as soon as the *thread* that started us ends.
    """
    while os.getppid() == parent_pid:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)

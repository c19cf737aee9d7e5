"""The engine on real vLLM: what comes out, and what new weights change."""

import time

import psutil
import pytest
import torch

from rollout.errors import TransferError, WorkersFailedError
from rollout.trajectory import Trajectory
from rollout.transfer_client import FanOutClient, trainer_init_info
from spatial.sample import ImageRef, Path
from tests.rollout.conftest import EngineHost, PolicySource, TinyWorld
from vlm.policy import Policy

pytestmark = pytest.mark.stack



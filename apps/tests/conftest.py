"""One thread: the models here are so small that a second one only waits."""

import os

import torch

from in_process import started as started  # a fixture

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
torch.set_num_threads(1)

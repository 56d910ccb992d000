"""What Ray Train runs in every worker process, and the ranks as Ray sees them."""

import os
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from torch import Tensor

from actlabel.core.errors import ActlabelError
from actlabel.trainer.loop import run
from actlabel.trainer.plan import plan_from_json
from actlabel.trainer.prepare import open_prepared
from actlabel.trainer.ranks import State, read_state, write_state
from actlabel.trainer.staging import Staging

_STATE_FILE = "state.pt"


class RayRanks:
    """The workers of a Ray Train job. See ``Ranks``."""

    def __init__(self) -> None:
        """Ask Ray who this process is; only inside a worker."""
        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.size: int = context.get_world_size()
        self.device: torch.device = ray.train.torch.get_device()

    def add_up(self, tensor: Tensor, /) -> None:
        """See ``Ranks``."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM)

    def save(self, state: State | None, /) -> None:
        """See ``Ranks``. The controller registers the checkpoint; a directory that it has not registered is never read."""
        with tempfile.TemporaryDirectory() as folder:
            if state is not None:
                write_state(state, Path(folder) / _STATE_FILE)
            checkpoint = ray.train.Checkpoint.from_directory(folder) if state is not None else None
            ray.train.report({}, checkpoint=checkpoint)

    def latest(self) -> State | None:
        """See ``Ranks``."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as folder:
            return read_state(Path(folder) / _STATE_FILE)


def train_loop_per_worker(config: dict[str, Any]) -> dict[str, Any]:
    """Carry out the plan in ``config['plan']``; return ``results``, or ``error`` for what no new attempt would mend."""
    ranks = RayRanks()
    plan = plan_from_json(config["plan"])
    try:
        with Staging(plan.staging).on_this_machine(plan) if plan.staging else nullcontext(plan) as local:
            prepared = open_prepared(local)
            per_node = ray.train.get_context().get_local_world_size()
            torch.set_num_threads(prepared.training.threads or max(1, (os.cpu_count() or 1) // per_node))
            return {"results": run(prepared, ranks)}
    except ActlabelError as error:
        return {"error": str(error)}

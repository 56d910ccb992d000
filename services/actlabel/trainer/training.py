"""One model trained with one loss: the loop from top to bottom.

Legend: b items of the global batch, B of them on this rank, C classes.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from actlabel.classifiers.port import Defaults, Features
from actlabel.runtime.log import get_log
from actlabel.trainer.guards import RiskWatch, WeightFacts, weight_facts
from actlabel.trainer.losses import Batch, Ints, weighted_items
from actlabel.trainer.objectives import Objective
from actlabel.trainer.order import Order, share
from actlabel.trainer.ranks import Ranks, State

_log = get_log(__name__)

_WARM_UP: Final = 0.05  # share of the steps
_LAST: Final = 0.05  # of the learning rate, at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How one model is trained."""

    steps: int  # in all; every loss of a run gets as many, so that none learns longer
    training: Defaults
    seed: int
    stop_on_negative_risk: bool
    metrics_file: Path  # one line of JSON a step, written by rank 0


def learning_rate(step: int, policy: Policy) -> float:
    """Return the rate of a step: a short warm-up, then a cosine."""
    warm_up = max(1, round(_WARM_UP * policy.steps))
    if step < warm_up:
        return policy.training.learning_rate * (step + 1) / warm_up
    done = (step - warm_up) / max(1, policy.steps - warm_up)
    return policy.training.learning_rate * (_LAST + (1 - _LAST) * (1 + math.cos(math.pi * done)) / 2)


class Training:
    """The state of one model's training; ``step`` moves it on by one global batch."""

    def __init__(self, model: nn.Module, objective: Objective, features: Features, policy: Policy, ranks: Ranks) -> None:
        """Stand at step 0; call ``restore`` before the first step."""
        self.model = model.to(ranks.device)
        self.next_step = 0
        self.watch = RiskWatch()
        self.objective = objective
        self._features = features
        self._policy = policy
        self._ranks = ranks
        self._order = Order(objective.items, batch_items=policy.training.batch_items, seed=policy.seed)
        self._weight = objective.weights.total
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=policy.training.learning_rate, weight_decay=1e-4)
        self._warned = False
        self._metrics = policy.metrics_file.open("ab") if ranks.rank == 0 else None

    @property
    def finished(self) -> bool:
        """Say whether all steps are done, or the risk has stopped the training."""
        return self.next_step >= self._policy.steps or (self._policy.stop_on_negative_risk and self.watch.persistently_negative)

    def step(self, *, flag: bool = False) -> bool:
        """Take one step; return whether any rank raised its ``flag``, so that all ranks can agree on something."""
        step, rank, size = self.next_step, self._ranks.rank, self._ranks.size
        rows = self._order.batch(step)
        # random layers draw from a state that the step determines: nothing of it belongs in a checkpoint
        torch.manual_seed((self._policy.seed * 1_000_003 + step) * 1_009 + rank)
        risk, raised = self._descend(rows, share(rows, rank, size), step, flag=flag)
        facts = weight_facts(self._weight[rows])
        self.watch.add(risk, facts)
        self._write(step, risk, facts)
        self._warn()
        self.next_step += 1
        return raised

    def _descend(self, rows: Ints, mine: Ints, step: int, *, flag: bool) -> tuple[float, bool]:
        """Add up gradients and risk over the ranks, then let the optimizer move. An empty share adds zeros."""
        self.model.train()
        self._optimizer.zero_grad(set_to_none=False)
        risk = self._backward(mine, self._normaliser(rows)) if len(mine) else torch.zeros((), device=self._ranks.device)
        facts = torch.stack([risk, torch.tensor(float(flag), device=self._ranks.device)])
        self._reduce(facts)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(step, self._policy)
        self._optimizer.step()
        return float(facts[0]), bool(facts[1] > 0)

    def _normaliser(self, rows: Ints) -> float:
        return float(self._weight[rows].sum()) if self.objective.self_normalised else float(len(rows))

    def _backward(self, mine: Ints, normaliser: float) -> Tensor:
        logits_BC = self.model(**{name: value.to(self._ranks.device) for name, value in self._features.batch(mine).items()})  # noqa: N806
        loss_B = weighted_items(logits_BC, self._batch(mine), human=self.objective.human_base, machine=self.objective.machine_base)  # noqa: N806
        risk: Tensor = loss_B.sum() / normaliser
        risk.backward()  # type: ignore[no-untyped-call]
        return risk.detach()

    def _batch(self, rows: Ints) -> Batch:
        objective, device = self.objective, self._ranks.device
        return Batch(
            human_B=torch.from_numpy(objective.human[rows]).to(device),
            machine_B=torch.from_numpy(objective.machine[rows]).to(device),
            human_weight_B=torch.from_numpy(objective.weights.human[rows]).float().to(device),
            machine_weight_B=torch.from_numpy(objective.weights.machine[rows]).float().to(device),
        )

    def _reduce(self, facts: Tensor) -> None:
        if self._ranks.size == 1:
            return
        # a frozen parameter has no gradient on any rank; one that this rank did not use has zeros
        gradients = [parameter.grad for parameter in self._trainable() if parameter.grad is not None]
        flat = torch.cat([facts, *(gradient.flatten() for gradient in gradients)])
        self._ranks.add_up(flat)
        facts.copy_(flat[: len(facts)])
        start = len(facts)
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def _trainable(self) -> list[nn.Parameter]:
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return parameters

    def _write(self, step: int, risk: float, facts: WeightFacts) -> None:
        if self._metrics is not None:
            line = {"step": step, "risk": risk, "learning_rate": learning_rate(step, self._policy), **asdict(facts)}
            self._metrics.write(json.dumps(line).encode() + b"\n")

    def _warn(self) -> None:
        if not self.watch.persistently_negative or self._warned or self._ranks.rank != 0:
            return
        self._warned = True
        facts = {"loss": self.objective.name, "step": self.next_step, "min_risk": self.watch.min_risk}
        if self.objective.bounded:
            # seen with models as good as any other (README): worth a line, not an alarm
            _log.info("The batch risk stays below zero, within the bound of this loss", **facts)
        else:
            _log.warning("The batch risk stays below zero and nothing bounds it: do not trust this model", **facts)

    def state(self) -> State:
        """Return what a checkpoint keeps of this model."""
        if self._metrics is not None:
            self._metrics.flush()
        return {
            "next_step": self.next_step,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "watch": self.watch.state(),
            "metrics": self._written(),
        }

    def _written(self) -> Tensor:
        """Return the metrics so far as bytes, uint8: the next rank 0 may be on another machine."""
        content = bytearray(self._policy.metrics_file.read_bytes()) if self._metrics is not None else bytearray()
        return torch.frombuffer(content, dtype=torch.uint8) if content else torch.zeros(0, dtype=torch.uint8)

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on from a checkpoint, or begin; metrics of steps that will be taken again are cut off."""
        if state is not None:
            self.next_step = state["next_step"]
            self.model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.watch = RiskWatch.restored(state["watch"])
        self._agree()
        if self._metrics is not None:
            self._metrics.truncate(0)
            self._metrics.write(state["metrics"].numpy().tobytes() if state is not None else b"")

    def _agree(self) -> None:
        """Give every rank the weights and buffers of rank 0, whatever its random state or library made of them."""
        if self._ranks.size == 1:
            return
        with torch.no_grad():
            for tensor in self.model.state_dict().values():
                if self._ranks.rank != 0:
                    tensor.zero_()
                self._ranks.add_up(tensor)

    def close(self) -> None:
        """End the metrics file."""
        if self._metrics is not None:
            self._metrics.close()


class Stopwatch:
    """Seconds that a model took, over restarts."""

    def __init__(self, before: float = 0.0) -> None:
        """Go on from ``before`` seconds."""
        self._before = before
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """What has passed in all."""
        return self._before + time.monotonic() - self._start

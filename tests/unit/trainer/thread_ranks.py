"""Several ranks as threads of one process: real collectives without a cluster."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from actlabel.trainer.ranks import State

_T = TypeVar("_T")


class _Meeting:
    """Where the ranks of one group add up their tensors."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=60)
        self.parts: list[Tensor | None] = [None] * size
        self.state: State | None = None


class ThreadRanks:
    """One rank of a group of threads. See ``Ranks``."""

    device = torch.device("cpu")

    def __init__(self, rank: int, meeting: _Meeting) -> None:
        self.rank = rank
        self.size = meeting.size
        self._meeting = meeting

    def add_up(self, tensor: Tensor, /) -> None:
        """See ``Ranks``; the order of the additions is that of the ranks."""
        self._meeting.parts[self.rank] = tensor.clone()
        self._meeting.barrier.wait()
        tensor.copy_(torch.stack([part for part in self._meeting.parts if part is not None]).sum(dim=0))
        self._meeting.barrier.wait()

    def save(self, state: State | None, /) -> None:
        """See ``Ranks``."""
        self._meeting.barrier.wait()

    def latest(self) -> State | None:
        """See ``Ranks``."""
        return None


def on_every_rank(size: int, work: Callable[[ThreadRanks], _T]) -> list[_T]:
    """Run ``work`` as every rank of a group; return what each returned, or raise what one raised."""
    meeting = _Meeting(size)
    answers: list[Any] = [None] * size

    def one(rank: int) -> None:
        try:
            answers[rank] = work(ThreadRanks(rank, meeting))
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            meeting.barrier.abort()
            answers[rank] = error

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, threading.BrokenBarrierError):
            raise answer
    return answers

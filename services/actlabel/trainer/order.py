"""Which items are in which batch: one shuffled order for all ranks, a function of the seed and the step alone."""

import numpy as np

from actlabel.trainer.losses import Ints


class Order:
    """Epoch after epoch, every item once, in batches whose sizes differ by at most one.

    Nothing of it needs to be kept in a checkpoint, and nothing depends on the number of ranks.
    """

    def __init__(self, items: Ints, *, batch_items: int, seed: int) -> None:
        """``items``: positions that take part, in an order that no transport changes; ``batch_items``: the most in a global batch."""
        self._items = items
        self._seed = seed
        self.steps_per_epoch = -(-len(items) // batch_items)
        self._epoch = -1
        self._batches: list[Ints] = []

    def batch(self, step: int) -> Ints:
        """Return the positions of the global batch of a step, from 0."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            shuffled = self._items[np.random.default_rng([self._seed, epoch]).permutation(len(self._items))]
            self._batches = np.array_split(shuffled, self.steps_per_epoch)
            self._epoch = epoch
        return self._batches[number]


def share(batch: Ints, rank: int, size: int) -> Ints:
    """Return a rank's part of a global batch; parts are disjoint, cover it, and may be empty."""
    return batch[rank::size]

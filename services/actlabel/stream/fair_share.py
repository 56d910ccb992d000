"""Sharing a fixed capacity among campaigns without knowing which of them will want it.

Nothing that was taken can be taken back (a call that runs has been paid for), so whoever shares must leave something for those who
are not there yet. The rule is the dynamic threshold of shared-memory switches (Choudhury and Hahne, IEEE/ACM Transactions on
Networking 6(2), 1998): one may hold at most ``lend`` times what is free now. One alone gets lend/(lend+1) of the capacity, n of them
lend/(n*lend+1) each, and one that hangs keeps the others from no more than it held when it began to hang.
"""


def fits(held: int, used: int, *, capacity: int, lend: int) -> bool:
    """Say whether one who holds ``held`` out of ``used`` in all may take one more.

    The first one always fits, so that nobody is kept out for good: the sum stays within ``capacity`` plus one for each of them.
    """
    return held == 0 or held < lend * (capacity - used)


class FairShare:
    """Who holds how many places now."""

    def __init__(self, *, capacity: int, lend: int) -> None:
        """Begin with every place free."""
        self._capacity = capacity
        self._lend = lend
        self._held: dict[str, int] = {}
        self.used = 0

    def held(self, who: str) -> int:
        """Say how many places one holds."""
        return self._held.get(who, 0)

    def take(self, who: str, *, most: int | None = None) -> bool:
        """Take a place if it is there and fair to take it, and ``who`` holds less than ``most`` (its own bound)."""
        held = self._held.get(who, 0)
        if most is not None and held >= most:
            return False
        if not fits(held, self.used, capacity=self._capacity, lend=self._lend):
            return False
        self._held[who] = held + 1
        self.used += 1
        return True

    def give(self, who: str) -> None:
        """Give a place back."""
        held = self._held[who] - 1
        self.used -= 1
        if held:
            self._held[who] = held
        else:
            del self._held[who]

"""Ids of many items as one block of bytes: an id costs its letters and eight bytes, a Python string fifty more."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload


class PackedIds(Sequence[str]):
    """Grows at its end; reads like a sequence of strings, each made anew when it is asked for."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        """Begin with these."""
        self._letters = bytearray()
        self._ends = array("q")
        self.extend(ids)

    def extend(self, ids: Iterable[str]) -> None:
        """Append."""
        for item_id in ids:
            self._letters += item_id.encode("utf-8", "surrogatepass")
            self._ends.append(len(self._letters))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...

    def __getitem__(self, place: int | slice) -> "str | Sequence[str]":
        """Return one, or those of a slice as a list."""
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        end = self._ends[place]
        number = place % len(self._ends)
        return self._letters[self._ends[number - 1] if number else 0 : end].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        """Yield them in order."""
        start = 0
        for end in self._ends:
            yield self._letters[start:end].decode("utf-8", "surrogatepass")
            start = end

"""How the members of a group share partitions: evenly, and each keeps what it has where it can."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TypeVar

from actlabel.stream.port import Partition, reads

_M = TypeVar("_M")


def share(
    partitions: Collection[Partition],
    *,
    prefixes: Mapping[_M, str],
    held: Mapping[_M, Collection[Partition]],
) -> Mapping[_M, set[Partition]]:
    """Give every partition to one member that reads its topic; members that could take the same differ by one at most.

    ``prefixes``: member → the topics that it reads. ``held``: what each member has now.
    """
    wanted = set(partitions)
    shares = {member: {p for p in held.get(member, ()) if p in wanted and reads(prefix, p.topic)} for member, prefix in prefixes.items()}
    for partition in sorted(wanted.difference(*shares.values())):
        able = [member for member, prefix in prefixes.items() if reads(prefix, partition.topic)]
        if able:
            shares[min(able, key=lambda member: len(shares[member]))].add(partition)
    while (move := _next_move(shares, prefixes)) is not None:
        giver, taker, partition = move
        shares[giver].remove(partition)
        shares[taker].add(partition)
    return shares


def _next_move(shares: Mapping[_M, set[Partition]], prefixes: Mapping[_M, str]) -> tuple[_M, _M, Partition] | None:
    """Find a partition that should move from the richest member to one that has at least two less."""
    for giver in sorted(shares, key=lambda member: -len(shares[member])):
        for taker in sorted(shares, key=lambda member: len(shares[member])):
            if len(shares[giver]) - len(shares[taker]) < 2:
                break
            movable = [p for p in shares[giver] if reads(prefixes[taker], p.topic)]
            if movable:
                surplus = Counter(p.topic for p in shares[giver])
                surplus.subtract(p.topic for p in shares[taker])
                return giver, taker, max(movable, key=lambda p: (surplus[p.topic], p))
    return None

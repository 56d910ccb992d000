"""How members share partitions, for any history of joins, leaves and topics."""

from hypothesis import given
from hypothesis import strategies as st

from actlabel.stream.partition_shares import share
from actlabel.stream.port import Partition

_PREFIXES = {"m1": "a.", "m2": "a.", "m3": "a.", "other": "b."}
_TOPICS = st.dictionaries(st.sampled_from(["a.x", "a.y", "b.z", "c.none"]), st.integers(1, 12))
_MEMBERS = st.sets(st.sampled_from(sorted(_PREFIXES)))


def _partitions(topics: dict[str, int]) -> list[Partition]:
    return [Partition(topic, number) for topic, count in topics.items() for number in range(count)]


@given(st.lists(st.tuples(_TOPICS, _MEMBERS), min_size=1, max_size=6))
def test_every_readable_partition_has_one_owner_evenly_and_moves_as_little_as_it_must(history: list[tuple[dict[str, int], set[str]]]):
    held: dict[str, set[Partition]] = {}
    for topics, members in history:
        partitions = _partitions(topics)
        prefixes = {member: _PREFIXES[member] for member in sorted(members)}
        shares = share(partitions, prefixes=prefixes, held=held)
        owned = [partition for mine in shares.values() for partition in mine]
        assert len(owned) == len(set(owned))
        assert set(owned) == {p for p in partitions if any(p.topic.startswith(prefix) for prefix in prefixes.values())}
        assert all(p.topic.startswith(prefixes[member]) for member, mine in shares.items() for p in mine)
        sizes = [len(mine) for member, mine in shares.items() if prefixes[member] == "a."]
        assert not sizes or max(sizes) - min(sizes) <= 1
        for member, mine in shares.items():
            still_there = {p for p in held.get(member, set()) if p in set(partitions)}
            floor = min(len(theirs) for name, theirs in shares.items() if prefixes[name] == prefixes[member])
            assert len(mine & still_there) >= min(len(still_there), floor), "took what it could have kept"
        held = {member: set(mine) for member, mine in shares.items()}


def test_a_newcomer_takes_half_of_every_topic():
    partitions = _partitions({"a.x": 4, "a.y": 4})
    shares = share(partitions, prefixes={"m1": "a.", "m2": "a."}, held={"m1": partitions})
    assert {topic: sum(p.topic == topic for p in shares["m2"]) for topic in ("a.x", "a.y")} == {"a.x": 2, "a.y": 2}


def test_nothing_moves_when_nothing_changed():
    partitions = _partitions({"a.x": 5})
    first = share(partitions, prefixes={"m1": "a.", "m2": "a."}, held={})
    assert share(partitions, prefixes={"m1": "a.", "m2": "a."}, held=first) == first


def test_a_leaver_gives_to_the_others_and_they_keep_theirs():
    partitions = _partitions({"a.x": 6})
    three = share(partitions, prefixes={"m1": "a.", "m2": "a.", "m3": "a."}, held={})
    two = share(partitions, prefixes={"m1": "a.", "m2": "a."}, held=three)
    assert two["m1"] >= three["m1"]
    assert two["m2"] >= three["m2"]

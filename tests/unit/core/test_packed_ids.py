"""Packed ids read like the list they were made of."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from actlabel.core.packed_ids import PackedIds

texts = st.lists(st.text(st.characters(codec=None)))  # every code point, lone surrogates too


@given(texts, texts)
def test_reads_like_a_list(first: list[str], second: list[str]) -> None:
    packed, plain = PackedIds(first), first + second
    packed.extend(second)
    assert list(packed) == plain
    assert len(packed) == len(plain)
    assert [packed[place] for place in range(-len(plain), len(plain))] == [*plain, *plain]
    assert packed[1:7:2] == plain[1:7:2]
    assert packed[::-1] == plain[::-1]


def test_costs_its_letters_and_eight_bytes() -> None:
    ids = [f"item-{number:09}" for number in range(10_000)]
    packed = PackedIds(ids)
    held = sys.getsizeof(packed._letters) + sys.getsizeof(packed._ends)
    assert held < 1.2 * sum(len(item_id) + 8 for item_id in ids)

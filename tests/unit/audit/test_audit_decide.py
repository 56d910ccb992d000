"""The audit's judgement on one id: never an accusation of what merely moves, always one where something is wrong."""

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from actlabel.audit.decide import FAULTS, IN_FLIGHT, Moment, Verdict, decide
from actlabel.audit.facts import Fact, Flag, Place
from actlabel.audit.history import History
from tests.unit.audit.item_life import BLANK, live, look, number_of, worlds

SEEDS = st.integers(0, 2**32)


def judge(facts: list[Fact], moment: Moment) -> Verdict:
    return decide(History(facts), moment)


def at_rest(seed: int) -> tuple[list[Fact], Moment, str]:
    life = live(seed)
    seen = worlds(life)
    last = len(seen) - 1
    return *look(seen, [last] * 4, [last] * 6), life.expected


@settings(max_examples=1000, deadline=None)
@given(SEEDS)
def test_a_campaign_at_rest_is_never_accused(seed: int) -> None:
    facts, moment, expected = at_rest(seed)
    assert judge(facts, moment) == (expected, ())


@settings(max_examples=3000, deadline=None)
@given(SEEDS, st.data())
def test_a_campaign_that_moves_while_it_is_looked_at_is_never_accused(seed: int, data: st.DataObject) -> None:
    seen = worlds(live(seed))
    step = st.integers(0, len(seen) - 1)
    early, positions, draws, *tables, late = sorted(data.draw(st.lists(step, min_size=10, max_size=10)))
    verdict = judge(*look(seen, [early, positions, draws, late], tables))
    assert verdict.faults == ()
    assert verdict.where in {"merged", "open in review", "dead", "purged", "newcomer", *IN_FLIGHT}


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.randoms())
def test_the_order_of_facts_does_not_matter(seed: int, dice: random.Random) -> None:
    facts, moment, _ = at_rest(seed)
    shuffled = list(facts)
    dice.shuffle(shuffled)
    assert judge(shuffled, moment) == judge(facts, moment)


def records(facts: list[Fact], place: Place) -> list[Fact]:
    return [fact for fact in facts if fact.place == place]


def without(facts: list[Fact], *places: Place) -> list[Fact]:
    return [fact for fact in facts if fact.place not in places]


def changed(facts: list[Fact], place: Place, **fields: int) -> list[Fact]:
    """Change one fact of a place."""
    index = next(index for index, fact in enumerate(facts) if fact.place == place)
    return [*facts[:index], facts[index]._replace(**fields), *facts[index + 1 :]]


def answered(facts: list[Fact]) -> bool:
    """Say whether the newest revision was answered and published."""
    newest = max(fact.revision for fact in facts)
    dead = records(facts, Place.DEAD)
    return not dead and any(row.flags & Flag.ANSWERED and row.revision == newest for row in records(facts, Place.QUEUE))


def _lose(facts: list[Fact]) -> list[Fact]:
    """A stage commits and produces nothing: everything after it is missing."""
    rows = (Place.QUEUE, Place.CANDIDATE, Place.DECISION, Place.ANSWER)
    assume(records(facts, Place.ANNOTATED) and not records(facts, Place.DEAD))
    return without(facts, Place.CRITIQUED, Place.REVIEW, Place.MERGED, *rows)


def _lose_at_the_outbox(facts: list[Fact]) -> list[Fact]:
    assume(answered(facts))
    return without(facts, Place.MERGED)


def _lose_a_dead_row(facts: list[Fact]) -> list[Fact]:
    assume(records(facts, Place.DEAD))
    return without(facts, Place.DEAD)


def _lose_at_the_gateway(facts: list[Fact]) -> list[Fact]:
    assume(answered(facts))
    return without(facts, Place.QUEUE, Place.MERGED)


def _never_produce(facts: list[Fact]) -> list[Fact]:
    return [fact for fact in facts if fact.place == Place.REGISTER]


def _unregister(facts: list[Fact]) -> list[Fact]:
    assume(records(facts, Place.ANNOTATED))
    return without(facts, Place.REGISTER)


def _kill_a_merged_one(facts: list[Fact]) -> list[Fact]:
    assume(records(facts, Place.MERGED) and not records(facts, Place.DEAD) and not records(facts, Place.LETTER))
    revision = max(fact.revision for fact in facts)
    assume(any(fact.revision == revision for fact in records(facts, Place.MERGED)))
    letter = BLANK._replace(place=Place.LETTER, revision=revision, offset=1, source=Place.ITEMS)
    return [*facts, letter, letter._replace(place=Place.DEAD, revision=0)]


def _skip_a_stage(facts: list[Fact]) -> list[Fact]:
    assume(records(facts, Place.CRITIQUED))
    return without(facts, Place.ANNOTATED)


def _another_pi(facts: list[Fact]) -> list[Fact]:
    place = random.Random(len(facts)).choice([Place.REVIEW, Place.MERGED, Place.DECISION])
    assume(records(facts, place) and (records(facts, Place.REVIEW) or records(facts, Place.MERGED)))
    sent = {fact.draw for fact in facts if fact.place in {Place.REVIEW, Place.MERGED}}
    assume(place != Place.DECISION or next(iter(records(facts, place))).draw in sent)
    return changed(facts, place, decision=12345)


def _no_stored_decision(facts: list[Fact]) -> list[Fact]:
    assume(records(facts, Place.REVIEW) or records(facts, Place.MERGED))
    return without(facts, Place.DECISION)


def _another_answer(facts: list[Fact]) -> list[Fact]:
    assume(records(facts, Place.CRITIQUED))
    return changed(facts, Place.CRITIQUED, annotation=9)


def _another_epsilon(facts: list[Fact]) -> list[Fact]:
    assume(records(facts, Place.MERGED) and all(fact.revision <= 1 for fact in facts))
    return changed(facts, Place.MERGED, epsilon=1)


def _merge_without_review(facts: list[Fact]) -> list[Fact]:
    assume(records(facts, Place.REVIEW))
    return [*facts, records(facts, Place.REVIEW)[0]._replace(place=Place.MERGED, offset=0)]


def _overwrite_a_human(facts: list[Fact]) -> list[Fact]:
    humans = [fact for fact in records(facts, Place.MERGED) if fact.flags & Flag.HUMAN]
    assume(humans)
    flags = humans[0].flags & ~Flag.HUMAN & ~Flag.SELECTED
    return [*facts, humans[0]._replace(flags=flags, review=0, human=0, offset=1000)]


def _another_label(facts: list[Fact]) -> list[Fact]:
    assume(any(fact.flags & Flag.HUMAN for fact in records(facts, Place.MERGED)))
    return [fact._replace(human=1) if fact.flags & Flag.HUMAN else fact for fact in facts]


def _garbage(facts: list[Fact]) -> list[Fact]:
    return [*facts, BLANK._replace(place=Place.MERGED, flags=Flag.EARLY | Flag.UNREADABLE, offset=999)]


def _no_letter(facts: list[Fact]) -> list[Fact]:
    assume(records(facts, Place.DEAD))
    return without(facts, Place.LETTER)


def _scatter(facts: list[Fact]) -> list[Fact]:
    return [*facts, records(facts, Place.ITEMS)[0]._replace(partition=4)]


def _unknown_revision(facts: list[Fact]) -> list[Fact]:
    return [*facts, records(facts, Place.ITEMS)[0]._replace(revision=5, offset=999)]


def _open_and_merged(facts: list[Fact]) -> list[Fact]:
    assume(answered(facts))
    return changed(facts, Place.QUEUE, flags=Flag.OPEN)


PLANTED: list[tuple[str, Callable[[list[Fact]], list[Fact]]]] = [
    ("lost", _lose),
    ("lost", _lose_at_the_outbox),
    ("lost", _lose_a_dead_row),
    ("lost", _lose_at_the_gateway),
    ("never-produced", _never_produce),
    ("unregistered", _unregister),
    ("two-places", _kill_a_merged_one),
    ("two-places", _open_and_merged),
    ("skipped-a-stage", _skip_a_stage),
    ("decisions-differ", _another_pi),
    ("decisions-differ", _no_stored_decision),
    ("answers-differ", _another_answer),
    ("epsilon-differs", _another_epsilon),
    ("merged-unreviewed", _merge_without_review),
    ("human-overwritten", _overwrite_a_human),
    ("label-differs", _another_label),
    ("unreadable", _garbage),
    ("no-letter", _no_letter),
    ("scattered", _scatter),
    ("unknown-revision", _unknown_revision),
]


@pytest.mark.parametrize(("fault", "plant"), PLANTED, ids=[plant.__name__.strip("_") for _, plant in PLANTED])
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(seed=SEEDS)
def test_a_planted_violation_is_always_found(fault: str, plant: Callable[[list[Fact]], list[Fact]], seed: int) -> None:
    facts, moment, _ = at_rest(seed)
    assert fault in judge(plant(facts), moment).faults


def test_every_fault_is_planted_somewhere() -> None:
    assert {fault for fault, _ in PLANTED} == set(FAULTS)


def test_what_a_stranger_wrote_and_a_stage_put_aside_is_no_violation() -> None:
    record = BLANK._replace(place=Place.ITEMS, flags=Flag.EARLY | Flag.UNREADABLE, offset=3)
    letter = BLANK._replace(place=Place.LETTER, offset=3, source=Place.ITEMS)
    moment = Moment(committed={(Place.ITEMS, 0): 4}, emitting={})
    assert judge([record, letter, letter._replace(place=Place.DEAD)], moment) == ("foreign", ())
    assert judge([record], moment) == ("foreign", ("unregistered",))


def test_a_dead_letter_of_an_older_revision_does_not_make_the_newer_one_dead() -> None:
    _, moment, _ = at_rest(0)
    letter = BLANK._replace(place=Place.LETTER, revision=1, source=Place.ITEMS)
    facts = [
        BLANK._replace(place=Place.REGISTER, revision=2, flags=Flag.PRODUCED),
        *(
            BLANK._replace(place=place, revision=2, flags=Flag.EARLY, annotation=place > 0)
            for place in (Place.ITEMS, Place.ANNOTATED, Place.CRITIQUED)
        ),
        BLANK._replace(place=Place.MERGED, revision=2, flags=Flag.EARLY, draw=1, decision=number_of(1, False)),
        BLANK._replace(place=Place.DECISION, draw=1, decision=number_of(1, False)),
        letter,
        letter._replace(place=Place.DEAD),
    ]
    assert judge(facts, moment) == ("merged", ())


@pytest.mark.parametrize(("flags", "expected"), [(Flag.EARLY, ("open in review", ("two-places",))), (0, ("merged", ()))])
def test_a_later_draw_that_merges_what_waits_for_a_reviewer(flags: int, expected: tuple[str, tuple[str, ...]]) -> None:
    """Withdrawn between the two looks, that is movement; there before the queue was read, it is counted twice."""
    sent = Flag.EARLY
    facts = [
        BLANK._replace(place=Place.REGISTER, revision=1, flags=Flag.PRODUCED),
        *(BLANK._replace(place=place, revision=1, flags=sent) for place in (Place.ITEMS, Place.ANNOTATED, Place.CRITIQUED)),
        BLANK._replace(place=Place.REVIEW, revision=1, draw=1, decision=1, flags=Flag.EARLY | Flag.SELECTED),
        BLANK._replace(place=Place.MERGED, revision=1, draw=2, decision=2, flags=flags),
        BLANK._replace(place=Place.DECISION, draw=1, decision=1),
        BLANK._replace(place=Place.DECISION, draw=2, decision=2),
        BLANK._replace(place=Place.QUEUE, revision=1, draw=1, flags=Flag.OPEN),
    ]
    assert judge(facts, Moment(committed={}, emitting={})) == expected


def test_a_revision_that_came_meanwhile_and_overtook_the_older_one_loses_nothing() -> None:
    """The sampler drops the older revision; the register was read before the newer one was written."""
    through = [
        BLANK._replace(place=place, revision=revision, offset=revision)
        for revision in (1, 2)
        for place in (Place.ITEMS, Place.ANNOTATED, Place.CRITIQUED)
    ]
    facts = [
        BLANK._replace(place=Place.REGISTER, revision=1, flags=Flag.PRODUCED),
        *through,
        BLANK._replace(place=Place.MERGED, revision=2, draw=1, decision=1),
    ]
    committed = {(place, 0): 3 for place in (Place.ITEMS, Place.ANNOTATED, Place.CRITIQUED)}
    assert judge(facts, Moment(committed=committed, emitting={})) == ("merged", ())

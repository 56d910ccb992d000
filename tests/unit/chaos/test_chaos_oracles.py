"""Every oracle passes on a system that is right, and fails on one fabricated violation; one that cannot fail proves nothing."""

from dataclasses import replace

import pytest

from tests.acceptance.chaos import calls, oracles, standing
from tests.acceptance.chaos.asked import Request
from tests.acceptance.chaos.calls import Loss
from tests.acceptance.chaos.evidence import Emitted, Evidence, Money
from tests.acceptance.chaos.oracles import Said
from tests.acceptance.chaos.standing import Ended, Reread, Sample

LEFT_OUT, CHOSEN = (0, 1, 1, 2, 100, False), (0, 0, 1, 2, 900, True)


def emitted(item, fact, *, label=None, revision=0):
    return Emitted(item_id=item, draw=1, fact=fact, reviewed=label is not None, revision=revision, label=label)


def right() -> Evidence:
    """Make a campaign at its end: a is merged as it is, b was reviewed, c waits for a reviewer, d is dead."""
    return Evidence(
        registered=frozenset("abcd"),
        merged=[emitted("a", LEFT_OUT), emitted("a", LEFT_OUT), emitted("b", CHOSEN, label="yes", revision=1)],
        review=[emitted("b", CHOSEN), emitted("c", CHOSEN)],
        decisions={("a", 1): LEFT_OUT, ("b", 1): CHOSEN, ("c", 1): CHOSEN},
        dead={"d": "annotator: bad-answer"},
        queue={"b": "answered", "c": "waiting"},
        latest_draw={"a": 1, "b": 1, "c": 1},
        budget=2,
        money=Money(cap=1.0, spent=0.4, reserved=0.1, results=0.35),
    )


CROWD = [
    Said(labels={"b": "yes", "c": "no"}, sent={"b"}, acknowledged={"b": "yes"}),
    Said(labels={"b": "no", "c": "yes"}, sent=set(), acknowledged={}),
]


def found(violations):
    return [(one.what.partition(" ")[2] if one.what[0].isdigit() else one.what, one.ids) for one in violations]


def test_a_right_system_is_not_accused():
    assert not [
        *oracles.conservation(right()),
        *oracles.reviews(right(), CROWD),
        *oracles.decisions(right()),
        *oracles.budgets(right()),
    ]
    done = right()
    done.merged.append(emitted("c", CHOSEN, label="no", revision=1))
    done.queue["c"] = "answered"
    assert not list(oracles.all_merged(done))


@pytest.mark.parametrize(
    ("change", "accusation"),
    [
        (lambda f: f.merged.clear(), ("items are nowhere", ("a", "b"))),
        (lambda f: f.dead.clear(), ("items are nowhere", ("d",))),
        (lambda f: f.queue.pop("c"), ("items are nowhere", ("c",))),
        (lambda f: f.dead.update(z="sampler: defect"), ("ids are not of the input", ("z",))),
        (lambda f: f.dead.update(a="annotator: deadline"), ("items are merged and dead", ("a",))),
        (lambda f: f.queue.update(b="leased"), ("items are merged and open in review", ("b",))),
        (lambda f: f.dead.update(c="annotator: deadline"), ("items are dead and open in review", ("c",))),
    ],
)
def test_conservation_fails(change, accusation):
    evidence = right()
    change(evidence)
    assert accusation in found(oracles.conservation(evidence))


def test_all_merged_fails_on_what_is_missing_and_on_what_is_dead():
    evidence = right()
    evidence.dead["a"] = "criticizer: deadline"
    assert found(oracles.all_merged(evidence)) == [
        ("items are missing on merged", ("c",)),
        ("dead or unknown items are on merged", ("a",)),
    ]


def test_reviews_fail_on_a_label_that_nobody_sent():
    evidence = right()
    evidence.merged[-1] = emitted("b", CHOSEN, label="no", revision=1)  # what another reviewer would have said
    accusations = found(oracles.reviews(evidence, CROWD))
    assert accusations == [("labels on merged were never sent", ("b",)), ("acknowledged answers are not on merged", ("b",))]


def test_reviews_fail_on_a_lost_acknowledgement_and_on_two_for_one_item():
    evidence = right()
    evidence.merged.pop()
    assert found(oracles.reviews(evidence, CROWD)) == [("acknowledged answers are not on merged", ("b",))]
    both = [CROWD[0], replace(CROWD[0])]
    assert found(oracles.reviews(right(), both)) == [("items were taken from two reviewers", ("b",))]


def test_decisions_fail_on_another_probability_in_a_duplicate():
    evidence = right()
    evidence.merged[1] = emitted("a", (0, 1, 2, 2, 100, False))
    assert found(oracles.decisions(evidence)) == [("items carry another decision than the stored one", ("a",))]
    evidence = right()
    evidence.review[1] = emitted("c", (0, 0, 1, 3, 900, True))
    assert found(oracles.decisions(evidence)) == [("items carry another decision than the stored one", ("c",))]


def test_decisions_fail_on_a_machine_record_after_the_human_one():
    evidence = right()
    evidence.merged.append(emitted("b", CHOSEN))
    assert ("reviewed items end with a record without the review", ("b",)) in found(oracles.decisions(evidence))
    assert ("selected items are on merged without a review", ("b",)) in found(oracles.decisions(evidence))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"budget": 1}, "2 items are for review, 1 are allowed"),
        ({"money": Money(cap=0.45, spent=0.4, reserved=0.1, results=0.35)}, "exceed $0.45"),
        ({"money": Money(cap=1.0, spent=0.2, reserved=0.1, results=0.35)}, "more than was spent or reserved"),
    ],
)
def test_budgets_fail(change, word):
    assert any(word in one.what for one in oracles.budgets(replace(right(), **change)))


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

KILLED = Loss(caller="p", kind="kill", start_s=100.0, end_s=float("inf"))
FROZEN = Loss(caller="p", kind="freeze", start_s=100.0, end_s=109.0)


def ask(number, arrived_s, ended_s, *, outcome="200", caller="p", fault="", digest="x"):
    return Request(number, digest, "annotate", caller, arrived_s, ended_s, outcome, fault)


@pytest.mark.parametrize(
    ("earlier", "losses", "out", "reason"),
    [
        (ask(1, 99.5, 100.01, outcome="abandoned"), [KILLED], [], "kill, in flight"),
        (ask(1, 100.01, 100.02, outcome="abandoned"), [KILLED], [], "kill, in flight"),  # it was on its way to a busy endpoint
        (ask(1, 98.0, 99.0), [KILLED], [], "kill, not stored"),
        (ask(1, 80.0, 85.0), [KILLED], [(85.5, 99.0)], "kill, not stored"),  # the database was out of reach since
        (ask(1, 99.5, 101.0), [FROZEN], [], "freeze, in flight"),
        (ask(1, 80.0, 85.0), [KILLED], [], "unexplained"),  # stored long before: it must have been found
        (ask(1, 99.5, 99.9), [], [], "unexplained"),
        (ask(1, 99.5, 100.0, outcome="abandoned"), [], [], "unexplained"),  # its caller gave up by itself
        (ask(1, 99.5, 111.0), [], [], "handover"),  # two living processes asked at once
        (ask(1, 99.5, 111.0), [], [(105.0, 109.5)], "handover, no database"),  # the call could not be claimed
        (ask(1, 99.5, 111.0), [], [(80.0, 90.0)], "handover"),  # it could: the database was back
        (ask(1, 99.5, 100.0), [], [(99.8, 109.5)], "handover, no database"),  # its answer could not be stored
        (ask(1, 99.5, 100.0, caller="q"), [KILLED], [], "unexplained"),  # another process was killed
    ],
)
def test_repeated_calls_are_explained_or_not(earlier, losses, out, reason):
    later = ask(2, 110.0, 111.0, caller="r")
    result = calls.repeats([earlier, later], losses, database_out=out)
    assert dict(result.by_reason) == {reason: 1}
    assert bool(list(calls.paid_once(result, handovers_wait=True))) == (reason in {"unexplained", "handover"})
    assert bool(list(calls.paid_once(result, handovers_wait=False))) == (reason == "unexplained")


def test_the_second_attempt_of_an_owner_that_lost_its_partition_is_a_handover():
    hung, elsewhere, again = ask(1, 80.0, 90.0, outcome="abandoned", fault="hang"), ask(2, 85.0, 86.0, caller="r"), ask(3, 90.5, 91.0)
    assert dict(calls.repeats([hung, elsewhere, again], [], database_out=[]).by_reason) == {"handover": 1}


def test_the_second_attempt_of_a_process_that_stood_still_in_its_first_is_the_freeze():
    hung, elsewhere, again = ask(1, 99.0, 109.5, outcome="abandoned", fault="hang"), ask(2, 106.5, 107.0, caller="r"), ask(3, 110.0, 110.5)
    assert dict(calls.repeats([hung, elsewhere, again], [FROZEN], database_out=[]).by_reason) == {"freeze, in flight": 1}
    assert dict(calls.repeats([hung, elsewhere, again], [], database_out=[]).by_reason) == {"handover": 1}


def test_a_process_that_woke_up_a_moment_ago_does_not_know_yet_what_it_lost():
    elsewhere, awake = ask(1, 109.0, 112.0, caller="q"), ask(2, FROZEN.end_s + 0.5, 113.0)
    assert dict(calls.repeats([elsewhere, awake], [FROZEN], database_out=[]).by_reason) == {"freeze, just awake": 1}
    late = ask(2, FROZEN.end_s + 5.0, FROZEN.end_s + 6.0)
    running = ask(1, FROZEN.end_s + 4.0, FROZEN.end_s + 9.0, caller="q")
    assert dict(calls.repeats([running, late], [FROZEN], database_out=[]).by_reason) == {"handover": 1}


def test_scripted_failures_are_counted_apart():
    requests = [ask(1, 1.0, 2.0, outcome="429"), ask(2, 3.0, 4.0, fault="hang", outcome="abandoned"), ask(3, 5.0, 6.0)]
    result = calls.repeats(requests, [], database_out=[])
    assert not result.by_reason
    assert dict(result.scripted) == {"429": 1, "hang": 1}
    assert not list(calls.paid_once(result, handovers_wait=True))


def test_more_repeats_than_lost_calls_fail():
    requests = [ask(1, 99.5, 100.0, outcome="abandoned"), ask(2, 101.0, 102.0, caller="r")]
    result = calls.repeats(requests, [KILLED], database_out=[])
    assert not list(calls.paid_once(result, handovers_wait=True))
    result.lost = 0
    assert found(calls.paid_once(result, handovers_wait=True)) == [("calls were repeated, 0 were lost with their process", ())]


def test_strays_within_their_number_pass_only_below_what_was_lost():
    lost = [ask(1, 99.5, 100.0, outcome="abandoned"), ask(2, 101.0, 102.0, caller="r")]
    stray = [ask(3, 50.0, 51.0, digest="y"), ask(4, 60.0, 61.0, caller="r", digest="y")]
    result = calls.repeats([*lost, *stray], [KILLED], database_out=[])
    assert list(calls.paid_once(result, handovers_wait=True)), "none may stray"
    result.lost = 2
    assert not list(calls.paid_once(result, handovers_wait=True, strays=1))
    result.lost = 1
    assert found(calls.paid_once(result, handovers_wait=True, strays=1)) == [("calls were repeated, 1 were lost with their process", ())]


# ── reading again, standing still, ending ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_window_fails_when_more_would_be_read_again():
    assert not list(standing.within_window([Reread(member="m", records=200, bound=200)]))
    assert list(standing.within_window([Reread(member="m", records=201, bound=200)]))


def watermarks(*committed, end=100):
    return [Sample(at_s=float(second), committed={"items/0": at}, ends={"items/0": end}) for second, at in enumerate(committed)]


@pytest.mark.parametrize(
    ("samples", "outages", "accused"),
    [
        (watermarks(*[10] * 50), [], True),
        (watermarks(*range(10, 60)), [], False),  # it moves
        (watermarks(*[100] * 50), [], False),  # nothing is left to do
        (watermarks(*[10] * 50), [(20.0, 25.0)], False),  # an outage in between excuses it
        (watermarks(*[10] * 50), [(0.0, 5.0)], True),  # one long before does not
    ],
)
def test_stagnation(samples, outages, accused):
    assert bool(list(standing.stagnation(samples, outages, patience_s=30.0))) == accused


def test_a_process_that_ends_by_itself_is_a_violation_unless_it_started_into_an_outage():
    ended = Ended(member="sampler-4", code=1, excused=False, last_words="defect")
    assert list(standing.none_ended([ended]))
    assert not list(standing.none_ended([replace(ended, excused=True)]))

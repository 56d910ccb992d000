"""Any order of arrivals, claims, answers, skips, undos, crashes and publications keeps the promises of the queue."""

import asyncio
from collections import defaultdict
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actlabel.core.errors import RetryLater
from actlabel.review_gateway.domain import Caller
from actlabel.review_gateway.refusals import LeaseLost, Refused
from actlabel.runtime.clock import FakeClock
from actlabel.runtime.database.open import open_database
from tests.unit.review_gateway.records import ANN, BOB, LABELS, LEA, open_desk, text_item

PEOPLE = st.sampled_from([ANN, BOB, LEA])
ITEMS = st.sampled_from(["a", "a", "a", "b"])  # few items, so that much happens to each
NAMES = st.sampled_from([*LABELS, None])


class Queue:
    """The real queue on a database in memory, beside what must be true of it."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.given: dict[str, list[tuple[Caller, str]]] = defaultdict(list)  # every lease ever given, oldest first
        self.arrived: set[str] = set()
        self.decisions: dict[str, list[bool]] = defaultdict(list)  # selected, by draw
        self.passed_on: set[str] = set()

    def run(self, work: object) -> object:
        return self.runner.run(work)

    def open(self) -> None:
        self.database = self.run(open_database("sqlite:///:memory:"))
        self.desk = self.run(open_desk(self.database, self.clock))
        for item in ("a", "b"):
            self.arrive_as(item, 1)

    def arrive(self, item: str, later: int, is_left_out: bool) -> None:
        """A new draw, the present one again, or one that was overtaken; decisions are stored, so the same draw says the same."""
        draw = max(1, len(self.decisions[item]) + later)
        while len(self.decisions[item]) < draw:
            self.decisions[item].append(not is_left_out)
        self.arrive_as(item, draw)

    def arrive_as(self, item: str, draw: int) -> None:
        if not self.decisions[item]:
            self.decisions[item].append(True)
        record = text_item(self.desk.campaign, item, decision__draw=draw, decision__selected=self.decisions[item][draw - 1])
        outgoing = self.run(self.desk.arrivals.handle(record, self.desk.campaign))
        self.arrived.add(item)
        self.passed_on |= {item for _ in outgoing}

    def work(self, who: Caller, label: str | None, count: int, resume: bool, skipped: bool, answers: bool) -> None:
        for item, token in self.run(self.desk.take(who, count, resume=resume, skipped=skipped)).items():
            self.given[item].append((who, token))
            if answers:
                self.run(self.desk.say(who, item, token, label))

    def revise(self, item: str, label: str | None) -> None:
        with suppress(Refused):
            undone = self.run(self.desk.answers.undo(self.desk.campaign, LEA, item))
            self.given[item].append((LEA, undone.lease.token))
            self.run(self.desk.say(LEA, item, undone.lease.token, label))

    def submit(self, item: str, label: str | None, back: int) -> None:
        if len(self.given[item]) <= back:
            return
        who, token = self.given[item][-1 - back]
        answers = self.answer_count(item)
        try:
            self.run(self.desk.say(who, item, token, label))
        except Refused:
            assert self.answer_count(item) == answers, "what is refused leaves nothing behind"
        else:
            is_newest = back == 0
            assert is_newest or self.answer_count(item) == answers, "an older lease can only repeat an answer"

    def skip_or_undo(self, who: Caller, item: str, is_skip: bool) -> None:
        if is_skip and self.given[item]:
            holder, token = self.given[item][-1]
            with suppress(LeaseLost):
                self.run(self.desk.answers.skip(self.desk.campaign, holder, item, token=token, reason="unclear"))
        elif not is_skip:
            with suppress(Refused):
                undone = self.run(self.desk.answers.undo(self.desk.campaign, who, item))
                self.given[item].append((who, undone.lease.token))

    def publish(self, how: str, after_s: float) -> None:
        self.clock.advance(after_s)

        async def once() -> None:
            self.desk.producer.is_held = how != "acknowledged"
            before = len(self.desk.producer.sent)
            publishing = asyncio.create_task(self.desk.outbox.publish_due())
            while not publishing.done() and len(self.desk.producer.sent) == before:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0)
            if how == "killed":
                publishing.cancel()
            while not publishing.done():  # records of one pass are handed over one after the other
                if how == "lost":
                    self.desk.producer.lose()
                await asyncio.sleep(0)
            await asyncio.gather(publishing, return_exceptions=True)
            self.desk.producer._waiting.clear()
            self.desk.producer.is_held = False

        with suppress(RetryLater):
            self.run(once())

    def one_revision_says_one_thing(self) -> None:
        said: dict[tuple[str, int, int], bytes] = {}
        newest: dict[str, int] = {}
        for (_, key, value), item in zip(self.desk.producer.sent, self.desk.producer.merged(), strict=True):
            at = (item.id, item.decision.draw, item.review.revision)
            assert said.setdefault(at, value) == value, "the same draw and revision are the same bytes, whatever was killed"
            assert item.review.revision >= newest.get(item.id, 0), "an older answer never follows a newer one"
            newest[item.id] = item.review.revision
            assert key == item.id.encode()

    def nobody_shares_an_item(self) -> None:
        for row in self.run(self.database.fetch("SELECT item_id, leased_by, lease_token FROM review WHERE state = 'leased'")):
            who, token = self.given[row["item_id"]][-1]
            assert (row["leased_by"], row["lease_token"]) == (who.name, token), "only the newest lease holds"

    def answer_count(self, item: str) -> int:
        return self.run(self.database.fetch("SELECT COUNT(*) AS n FROM review_answer WHERE item_id = $1", item))[0]["n"]

    def settle(self) -> None:
        """Whatever happened: when a lead answers all that is open, every item is on merged with its newest answer."""
        self.clock.advance(1000)
        for how in ({}, {"skipped": True}):
            for item, token in self.run(self.desk.take(LEA, 9, **how)).items():
                self.run(self.desk.say(LEA, item, token, "neutral"))
        self.clock.advance(1000)
        self.run(self.desk.outbox.drain())
        last = {item.id: item for item in self.desk.producer.merged()}
        rows = self.run(self.database.fetch("SELECT item_id, state, revision, draw FROM review"))
        assert {row["item_id"] for row in rows} == self.arrived
        for row in rows:
            if row["state"] == "withdrawn":
                assert row["item_id"] in self.passed_on
                continue
            assert row["state"] in {"answered", "undecidable"}
            merged = last[row["item_id"]]
            assert (merged.review.revision, merged.decision.draw) == (row["revision"], row["draw"])
            values = (row["item_id"], row["revision"])
            answer = self.run(
                self.database.fetch("SELECT label, reviewer FROM review_answer WHERE item_id = $1 AND revision = $2", *values)
            )
            assert (merged.review.label or None, merged.review.reviewer) == (answer[0]["label"], answer[0]["reviewer"])


def step(name: str, **how: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[str, dict[str, object]]]:
    return st.tuples(st.just(name), st.fixed_dictionaries(how))


WORK = step(
    "work",
    who=PEOPLE,
    label=NAMES,
    count=st.integers(1, 2),
    resume=st.booleans(),
    skipped=st.booleans(),
    answers=st.sampled_from([True, True, False]),
)
PUBLISH = step(
    "publish", how=st.sampled_from(["acknowledged", "acknowledged", "lost", "killed"]), after_s=st.sampled_from([0, 1, 11, 11, 11, 61])
)
STEPS = st.one_of(
    WORK,
    PUBLISH,
    PUBLISH,
    step("arrive", item=ITEMS, later=st.sampled_from([0, 1, -1]), is_left_out=st.sampled_from([False, False, False, True])),
    step("revise", item=ITEMS, label=NAMES),
    step("submit", item=ITEMS, label=NAMES, back=st.integers(0, 2)),
    step("skip_or_undo", who=PEOPLE, item=ITEMS, is_skip=st.booleans()),
)


# hypothesis.stateful leaves rules out at random ("swarm testing"); here nearly every rule is needed for anything to happen at all:
# 89 % of its runs published nothing.
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=25, max_size=40))
def test_the_promises_of_the_queue_hold_in_any_order_of_events(steps: list[tuple[str, dict[str, object]]]) -> None:
    queue = Queue()
    try:
        queue.open()
        for name, how in steps:
            getattr(queue, name)(**how)
            queue.one_revision_says_one_thing()
            queue.nobody_shares_an_item()
        queue.settle()
        queue.run(queue.database.close())
    finally:
        queue.runner.close()

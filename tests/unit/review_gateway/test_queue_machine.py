"""Any order of arrivals, claims, answers, skips, undos, crashes and publications keeps the promises of the queue."""

import asyncio
from collections import defaultdict
from contextlib import suppress

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actlabel.core.errors import RetryLater
from actlabel.review_gateway.domain import Caller
from actlabel.review_gateway.refusals import LeaseLost, Refused
from actlabel.runtime.clock import FakeClock
from actlabel.runtime.database.open import open_database
from tests.unit.review_gateway.records import ANN, BOB, LABELS, LEA, open_desk, text_item

PEOPLE = st.sampled_from([ANN, BOB, LEA])
ITEMS = st.sampled_from(["a", "a", "a", "b"])  # few items, so that much happens to each
NAMES = st.sampled_from([*LABELS, None])


class Queue(RuleBasedStateMachine):
    """The real queue on a database in memory, beside what must be true of it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.given: dict[str, list[tuple[Caller, str]]] = defaultdict(list)  # every lease ever given, oldest first
        self.arrived: set[str] = set()
        self.decisions: dict[str, list[bool]] = defaultdict(list)  # selected, by draw
        self.passed_on: set[str] = set()

    def run(self, work: object) -> object:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        self.database = self.run(open_database("sqlite:///:memory:"))
        self.desk = self.run(open_desk(self.database, self.clock))

    @rule(item=ITEMS, later=st.sampled_from([0, 1, -1]), is_left_out=st.sampled_from([False, False, False, True]))
    def arrive(self, item: str, later: int, is_left_out: bool) -> None:
        """A new draw, the present one again, or one that was overtaken; decisions are stored, so the same draw says the same."""
        draw = max(1, len(self.decisions[item]) + later)
        while len(self.decisions[item]) < draw:
            self.decisions[item].append(not self.decisions[item] or not is_left_out)
        record = text_item(self.desk.campaign, item, decision__draw=draw, decision__selected=self.decisions[item][draw - 1])
        outgoing = self.run(self.desk.arrivals.handle(record, self.desk.campaign))
        self.arrived.add(item)
        self.passed_on |= {item for _ in outgoing}

    @rule(who=PEOPLE, count=st.integers(1, 3), resume=st.booleans(), skipped=st.booleans())
    def claim(self, who: Caller, count: int, resume: bool, skipped: bool) -> None:
        for item, token in self.run(self.desk.take(who, count, resume=resume, skipped=skipped)).items():
            self.given[item].append((who, token))

    @rule(who=PEOPLE, label=NAMES)
    def work(self, who: Caller, label: str | None) -> None:
        for item, token in self.run(self.desk.take(who, 3)).items():
            self.given[item].append((who, token))
            self.run(self.desk.say(who, item, token, label))

    @rule(item=ITEMS, label=NAMES)
    def revise(self, item: str, label: str | None) -> None:
        with suppress(Refused):
            undone = self.run(self.desk.answers.undo(self.desk.campaign, LEA, item))
            self.given[item].append((LEA, undone.lease.token))
            self.run(self.desk.say(LEA, item, undone.lease.token, label))

    @rule(item=ITEMS, label=NAMES, back=st.integers(0, 2))
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

    @rule(item=ITEMS)
    def skip(self, item: str) -> None:
        if self.given[item]:
            who, token = self.given[item][-1]
            with suppress(LeaseLost):
                self.run(self.desk.answers.skip(self.desk.campaign, who, item, token=token, reason="unclear"))

    @rule(who=PEOPLE, item=ITEMS)
    def undo(self, who: Caller, item: str) -> None:
        with suppress(Refused):
            undone = self.run(self.desk.answers.undo(self.desk.campaign, who, item))
            self.given[item].append((who, undone.lease.token))

    @rule(seconds=st.sampled_from([1, 11, 61]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(how=st.sampled_from(["acknowledged", "lost", "killed"]), after_s=st.sampled_from([0, 11, 11]))
    def publish(self, how: str, after_s: float) -> None:
        self.clock.advance(after_s)

        async def once() -> None:
            self.desk.producer.is_held = how != "acknowledged"
            before = len(self.desk.producer.sent)
            publishing = asyncio.create_task(self.desk.outbox.publish_due())
            while not publishing.done() and len(self.desk.producer.sent) == before:
                await asyncio.sleep(0)
            if how == "lost":
                self.desk.producer.lose()
            elif how == "killed":
                publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            self.desk.producer._waiting.clear()
            self.desk.producer.is_held = False

        with suppress(RetryLater):
            self.run(once())

    @invariant()
    def one_revision_says_one_thing(self) -> None:
        if not hasattr(self, "desk"):
            return
        said: dict[tuple[str, int, int], bytes] = {}
        newest: dict[str, int] = {}
        for (_, key, value), item in zip(self.desk.producer.sent, self.desk.producer.merged(), strict=True):
            at = (item.id, item.decision.draw, item.review.revision)
            assert said.setdefault(at, value) == value, "the same draw and revision are the same bytes, whatever was killed"
            assert item.review.revision >= newest.get(item.id, 0), "an older answer never follows a newer one"
            newest[item.id] = item.review.revision
            assert key == item.id.encode()

    @invariant()
    def nobody_shares_an_item(self) -> None:
        if hasattr(self, "desk"):
            rows = self.run(self.database.fetch("SELECT item_id, leased_by, lease_token FROM review WHERE state = 'leased'"))
            for row in rows:
                who, token = self.given[row["item_id"]][-1]
                assert (row["leased_by"], row["lease_token"]) == (who.name, token), "only the newest lease holds"

    def answer_count(self, item: str) -> int:
        return self.run(self.database.fetch("SELECT COUNT(*) AS n FROM review_answer WHERE item_id = $1", item))[0]["n"]

    def teardown(self) -> None:
        """Whatever happened: when a lead answers all that is open, every item is on merged with its newest answer."""
        try:
            if hasattr(self, "desk"):
                self.settle()
                self.run(self.database.close())
        finally:
            self.runner.close()

    def settle(self) -> None:
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


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))

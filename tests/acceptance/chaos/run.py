"""One chaos run: the system is set up, broken on schedule while it works, left to come to rest, and held to account."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Final

from actlabel.core import topics
from actlabel.core.errors import RetryLater
from actlabel.review_gateway.reviewers import Reviewers
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.clock import SystemClock
from tests.acceptance.chaos.asked import Asked, caller_of
from tests.acceptance.chaos.crew import Crew
from tests.acceptance.chaos.endpoint import Endpoint, running_endpoint
from tests.acceptance.chaos.evidence import Evidence, collect
from tests.acceptance.chaos.faults import Faults, Outages
from tests.acceptance.chaos.judge import judge
from tests.acceptance.chaos.ledger import Event, Ledger
from tests.acceptance.chaos.operating import Operator
from tests.acceptance.chaos.plan import Plan
from tests.acceptance.chaos.schedule import LASTING, OF_A_PROCESS, Fault, Part, make_schedule
from tests.acceptance.chaos.watch import Rereads, Watermarks
from tests.acceptance.crowd import Reviewer
from tests.acceptance.data import LABELS, Recording, synthetic
from tests.acceptance.fleet import CALLER, Member, eventually
from tests.acceptance.pipeline import System, make_settings, system, working
from tests.services.kafka_broker import KafkaBroker
from tests.services.postgres_server import PostgresServer

_LOOK_S: Final = 0.1
_MOMENT_S: Final = 0.002
_SUBMIT_S: Final = 10.0
_AT_ONCE: Final = 3  # faults
_REST_S: Final = 300.0
_WHO_DRAWS: Final = """
SELECT a.application_name AS name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND a.application_name LIKE 'sampler-%' LIMIT 1"""


async def run(plan: Plan, folder: Path, *, broker: KafkaBroker, postgres: PostgresServer) -> Ledger:
    """Run the plan on services of its own; returns the ledger, whose ``violations`` say whether it holds."""
    files = [synthetic(folder, plan.items // plan.batches, seed=plan.seed, name=f"batch{n}") for n in range(plan.batches)]
    answers = folder / "answers.jsonl"
    answers.write_text("".join(file.answers.read_text(encoding="utf-8") for file in files), encoding="utf-8")
    settings = make_settings(folder, stream=f"kafka://{broker.address}", database=postgres.create_database())
    tuning = {
        "ACTLABEL_CALLS_IN_FLIGHT": str(2 * plan.calls_in_flight),
        "ACTLABEL_WINDOW_ITEMS": str(plan.window),
        "ACTLABEL_ITEM_DEADLINE_S": str(plan.item_deadline_s),
        "ACTLABEL_DRAIN_DEADLINE_S": "3",
        "ACTLABEL_DEAD_LETTERS_PER_MINUTE": str(plan.dead_letters_per_minute),
    }
    async with running_endpoint(answers, folder, latency_ms=plan.latency_ms) as endpoint, system(folder, settings, **tuning) as arena:
        campaign = await _apply(arena, plan, endpoint)
        return await _Run(plan, arena, campaign, endpoint, broker, postgres).through(files)


async def _apply(arena: System, plan: Plan, endpoint: Endpoint) -> Campaign:
    model = {"endpoint": endpoint.url, "calls_in_flight": plan.calls_in_flight, "api_key_env": CALLER, "timeout_s": plan.call_timeout_s}
    price = {"input_usd_per_million_tokens": 1.0, "output_usd_per_million_tokens": 4.0}
    return await arena.apply(
        "chaos",
        endpoint.url,
        annotator={**model, "model": "recorded-annotator", "price": price},
        criticizer={**model, "model": "recorded-critic", "price": price},
        sampler__budget=f"{100 * plan.budget_share:g}%",  # of each batch; a count would be used up by the first
        partitions=6,
        spend_cap_usd=plan.cap_usd,
    )


class _Run:
    """The state of a run."""

    def __init__(
        self, plan: Plan, arena: System, campaign: Campaign, endpoint: Endpoint, broker: KafkaBroker, postgres: PostgresServer
    ) -> None:
        self._plan = plan
        self._arena = arena
        self._campaign = campaign
        self._asked = Asked(endpoint.log)
        self._outages = Outages()
        self._crew = Crew(arena.fleet, replicas=plan.replicas, outage=self._outages.since, calls=self._calls_of)
        self._rereads = Rereads(arena.host, campaign.uid, window=plan.window)
        self._watermarks = Watermarks(arena.host, campaign.uid)
        self._faults = Faults(
            crew=self._crew, broker=broker, postgres=postgres, endpoint=endpoint, outages=self._outages, killed=self._on_kill
        )
        self._operator = Operator(arena, campaign, endpoint_is_well=self._endpoint_is_well, tell=self._note)
        self._schedule = make_schedule(plan.seed, faults=plan.faults, draws=plan.batches)
        self._ledger = Ledger(plan=plan, outages=self._outages)
        self._start_s = time.time()
        self._part = Part.MACHINE
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._strikes: list[asyncio.Task[None]] = []
        self._crowd: list[Reviewer] = []

    async def through(self, files: list[Recording]) -> Ledger:
        """Go through all parts."""
        registered = frozenset(chain.from_iterable(file.truth for file in files))
        await self._crew.assemble()
        self._start_s = time.time()
        async with _beside(self._crew.look_after(), self._watermarks.watch(), self._operator.lift_pauses()):
            await self._machine_part(files)
            self._ledger.machine = await self._evidence(registered)
            await self._review_part(registered)
            self._ledger.final = await self._evidence(registered)
        self._ledger.seconds = time.time() - self._start_s
        self._asked.look()
        judge(self._ledger, self._asked.requests, self._crew, self._crowd, self._watermarks.samples, self._rereads.found)
        return self._ledger

    # ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _machine_part(self, files: list[Recording]) -> None:
        async with _beside(self._strike_draws()):
            await self._while_models_are_asked(files)
            await self._operator.replay_half_of_the_dead(random.Random(self._plan.seed))
            await self._operator.seal()
            await self._at_rest(reviewed=False)
        await self._at_rest(reviewed=False)  # a draw may have been struck at the last moment

    async def _while_models_are_asked(self, files: list[Recording]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._operator.take_in([file.items for file in files]))
            await self._strike_all(Part.MACHINE, self._machine_progress)
        await self._until(lambda: self._machine_progress() >= 0.97)

    async def _strike_all(self, part: Part, progress: Callable[[], float]) -> None:
        for fault in self._of(part):
            await self._until(lambda at=fault.at: progress() >= at)
            await self._turns.acquire()
            self._begin(fault).add_done_callback(lambda _: self._turns.release())

    async def _strike_draws(self) -> None:
        """Strike whoever holds the lock of a draw, or of its emission, while it holds it."""
        for fault in self._of(Part.DRAW):
            await self._until(lambda at=fault.at: self._machine_progress() >= at)
            victim = await self._who_draws()
            await asyncio.wait([self._begin(fault, victim)])

    async def _who_draws(self) -> Member:
        while True:
            with suppress(RetryLater):
                rows = await self._arena.host.database.fetch(_WHO_DRAWS)
                if rows and (member := self._crew.named(rows[0]["name"])) is not None:
                    return member
            await asyncio.sleep(_MOMENT_S)

    async def _review_part(self, registered: frozenset[str]) -> None:
        self._part = Part.REVIEW
        self._crowd = await self._hire(registered)
        async with _working(self._crowd):
            await self._strike_all(Part.REVIEW, self._review_progress)
            await self._at_rest(reviewed=True)

    async def _hire(self, registered: frozenset[str]) -> list[Reviewer]:
        """Each reviewer has labels of their own, so that a mix-up shows."""
        reviewers = Reviewers(database=self._arena.host.database, clock=SystemClock())
        think_s = self._plan.review_s * self._plan.reviewers / max(self._plan.budget, 1)
        crowd = []
        for number in range(self._plan.reviewers):
            dice = random.Random(f"{self._plan.seed}:{number}")
            labels = {item: dice.choice(LABELS) for item in sorted(registered)}
            token = await reviewers.add(f"reviewer-{number}", is_lead=False)
            crowd.append(Reviewer(token=token, campaign=self._campaign.name, truth=labels, address=self._any_gateway, think_s=think_s))
        return crowd

    def _any_gateway(self) -> str:
        """Choose as a load balancer does that has not noticed yet who stands still."""
        there = [m for m in self._arena.fleet.members if m.role == topics.REVIEW_GATEWAY and m.alive]
        return f"http://127.0.0.1:{random.choice(there).review_port if there else 9}"

    # ── faults ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _of(self, part: Part) -> list[Fault]:
        return [fault for fault in self._schedule if fault.part is part]

    def _begin(self, fault: Fault, victim: Member | None = None) -> "asyncio.Task[None]":
        self._strikes.append(asyncio.create_task(self._strike(fault, victim)))
        return self._strikes[-1]

    async def _strike(self, fault: Fault, victim: Member | None) -> None:
        """Inflict a fault and mend it."""
        if fault.kind not in OF_A_PROCESS:
            victim = None
        elif victim is None:
            victim = await self._who_takes_an_answer(fault) or await self._crew.pick(fault.role, fault.pick)
        self._note(str(fault), part=fault.part, victim=victim)
        await self._faults.inflict(fault, victim)
        if fault.kind in LASTING:
            self._note(f"{fault.kind} is over", part=fault.part, victim=victim)

    async def _who_takes_an_answer(self, fault: Fault) -> Member | None:
        """Find a gateway to which an answer is on its way at this moment."""
        if fault.role != topics.REVIEW_GATEWAY:
            return None
        deadline_s = time.time() + _SUBMIT_S
        while time.time() < deadline_s:
            taking = "".join(reviewer.submitting_to for reviewer in self._crowd)
            for member in self._crew.replicas(fault.role):
                if f":{member.review_port}/" in taking:
                    return member
            await asyncio.sleep(_MOMENT_S)
        return None

    async def _on_kill(self, member: Member) -> None:
        if self._outages.running == 0:
            with suppress(RetryLater):
                await self._rereads.count(member.name, member.role, replicas=len(self._crew.replicas(member.role)) + 1)

    def _note(self, what: str, *, part: Part | None = None, victim: Member | None = None) -> None:
        self._asked.look()
        progress = self._review_progress() if self._part is Part.REVIEW else self._machine_progress()
        event = Event(
            at_s=time.time() - self._start_s,
            part=part or self._part,
            progress=progress,
            what=what,
            victim=victim.name if victim else "",
            in_flight=self._asked.in_flight(caller_of(victim.name) if victim else None),
        )
        self._ledger.events.append(event)
        print(event, flush=True)

    def _calls_of(self, name: str) -> int:
        self._asked.look()
        return self._asked.in_flight(caller_of(name))

    def _endpoint_is_well(self) -> bool:
        return not any(end == float("inf") for _, end in self._outages.endpoint)

    # ── progress and rest ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _machine_progress(self) -> float:
        self._asked.look()
        return min(sum(self._asked.answered.values()) / (2 * self._plan.items), 1.0)

    def _review_progress(self) -> float:
        return sum(len(reviewer.acknowledged) for reviewer in self._crowd) / max(self._plan.budget, 1)

    async def _until(self, holds: Callable[[], bool]) -> None:
        async def now() -> bool:
            for strike in self._strikes:
                if strike.done():
                    strike.result()  # a fault that could not be inflicted or lifted ends the run
            return holds()

        await eventually(now, what=f"the next step at {self._machine_progress():.0%}, {self._review_progress():.0%}", within_s=_REST_S)

    async def _at_rest(self, *, reviewed: bool) -> None:
        """Wait until all is mended, everybody is ready, and nothing moves any more, not even a call of a process that stood still."""
        await self._until(lambda: all(strike.done() for strike in self._strikes))
        await self._crew.complete()

        async def still() -> bool:
            self._asked.look()
            with suppress(RetryLater):
                progress = await self._arena.progress(self._campaign)
                done = not progress.moving() and progress.outbox == 0 and self._asked.in_flight() == 0
                return done and (not reviewed or progress.open_reviews == 0)
            return False

        try:
            await eventually(still, what="at rest", within_s=_REST_S)
        except AssertionError:
            print(await self._arena.progress(self._campaign))
            raise

    async def _evidence(self, registered: frozenset[str]) -> Evidence:
        plan = self._plan
        return await collect(self._arena.host, self._campaign.uid, registered=registered, budget=plan.budget, cap=plan.cap_usd)


@asynccontextmanager
async def _beside(*works: object) -> AsyncIterator[None]:
    """Let these go on while the block runs; one that fails ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


@asynccontextmanager
async def _working(crowd: list[Reviewer]) -> AsyncIterator[None]:
    if not crowd:
        yield
        return
    async with working(crowd[0]), _working(crowd[1:]):
        yield

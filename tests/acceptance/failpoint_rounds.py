"""Runs a round: a campaign in which a process of each role dies where its cases say, and what was seen of it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actlabel.core import topics
from actlabel.runtime.campaigns import Campaign
from actlabel.standin.faults import Faults
from actlabel.standin.recorded import RecordedAnswers
from actlabel.standin.request_log import RequestLog
from actlabel.standin.server import Standin
from tests.acceptance.data import Recording, synthetic
from tests.acceptance.failpoint_ledger import Violations, at_the_end, read_books, while_open
from tests.acceptance.failpoint_plan import EXACT, FIRST_WAVE, STREAMING, Case, Round
from tests.acceptance.failpoint_reviewer import Doubter
from tests.acceptance.fleet import Fleet, Member, eventually
from tests.acceptance.hearing import hear_out
from tests.acceptance.pipeline import System
from tests.services.processes import free_port

ITEMS = 70
_LATENCY_MS = 40
TUNING = {
    "ACTLABEL_SESSION_TIMEOUT_S": "2",
    "ACTLABEL_COMMIT_INTERVAL_S": "0.1",
    "ACTLABEL_CALLS_IN_FLIGHT": "16",
    "ACTLABEL_WINDOW_ITEMS": "200",
    "ACTLABEL_LOG_FORMAT": "json",
}
_MODELS = (topics.ANNOTATOR, topics.CRITICIZER)


@dataclass
class Death:
    """What was seen when a process died."""

    returncode: int
    last_word: str  # the failpoint that the last line of its log names
    asked: frozenset[str] = frozenset()  # requests that had arrived from its stage
    stored: int = 0  # answers of its stage that were stored


@dataclass
class Outcome:
    """What was seen of a round."""

    deaths: dict[Case, Death] = field(default_factory=dict)
    violations: Violations = field(default_factory=dict)
    unledgered: list[str] = field(default_factory=list)  # at rest, with reviews open
    repeats: dict[str, int] = field(default_factory=dict)  # role → calls made again, word for word
    unstored: dict[str, int] = field(default_factory=dict)  # role → answers that were asked for and not stored at its deaths
    stalled: str = ""  # why the campaign did not come to its end


@dataclass
class Scene:
    """What all rounds share: the items, what the models refuse, their addresses, and the processes."""

    folder: Path
    fleet: Fleet
    recording: Recording
    doomed: dict[str, set[str]]
    ports: dict[str, int]
    campaigns: dict[str, Campaign] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, fleet: Fleet) -> "Scene":
        """Two items have no answer of the annotator, two others none of the critic; they come in the second wave."""
        recording = synthetic(folder, ITEMS)
        names = list(recording.truth)
        doomed = {topics.ANNOTATOR: set(names[-2:]), topics.CRITICIZER: set(names[-4:-2])}
        return cls(folder, fleet, recording, doomed, {stage: free_port() for stage in _MODELS})

    def standin(self, stage: str, log: RequestLog) -> Standin:
        """The model of a stage, at its address."""
        lines = self.recording.answers.read_text().splitlines(keepends=True)
        known = [line for name, line in zip(self.recording.truth, lines, strict=True) if name not in self.doomed[stage]]
        answers = self.folder / f"{stage}.jsonl"
        answers.write_text("".join(known))
        return Standin(RecordedAnswers.load(answers), Faults(latency_ms=_LATENCY_MS), log=log, port=self.ports[stage])

    def wave(self, first: int, end: int | None = None) -> Path:
        """Some of the items as a file."""
        file = self.folder / f"wave-{first}.jsonl"
        file.write_text("".join(self.recording.items.read_text().splitlines(keepends=True)[first:end]))
        return file

    async def apply(self, arena: System, name: str, mode: str) -> Campaign:
        """A campaign for one round."""
        price = {"input_usd_per_million_tokens": 1, "output_usd_per_million_tokens": 1}
        changes = {
            "annotator__price": price,
            "criticizer__price": price,
            "criticizer__endpoint": f"http://127.0.0.1:{self.ports[topics.CRITICIZER]}/v1",
            "annotator__calls_in_flight": 8,
            "criticizer__calls_in_flight": 8,
            "sampler__budget": "35%",
            "sampler__mode": mode,
            "review__undo_seconds": 0.5,
            "review__lease_seconds": 60,
            "partitions": 2,
            **({"sampler__block_items": 16, "sampler__block_seconds": 0.5} if mode == STREAMING else {}),
        }
        return await arena.apply(name, f"http://127.0.0.1:{self.ports[topics.ANNOTATOR]}/v1", **changes)


class Performance:
    """One round on its way."""

    def __init__(self, arena: System, scene: Scene, campaign: Campaign, deaths: dict[str, list[Case]]) -> None:
        """``deaths``: by role, in their order."""
        self.arena, self.scene, self.campaign, self.cases = arena, scene, campaign, deaths
        self.logs = {stage: RequestLog() for stage in _MODELS}
        self.models = {stage: scene.standin(stage, log) for stage, log in self.logs.items()}
        self.outcome = Outcome()
        token = (arena.host.settings.review_token_file or Path()).read_text().strip()
        self.doubter = Doubter(token=token, campaign=campaign.name, truth=scene.recording.truth, address=arena.fleet.gateway)

    async def run(self) -> Outcome:
        """See the module. A campaign that comes to no end is looked at as it lies: what is lost is why."""
        async with self.models[topics.ANNOTATOR], self.models[topics.CRITICIZER], asyncio.TaskGroup() as group:
            chains = [group.create_task(self._chain(role)) for role in topics.READS]
            try:
                await self._play()
            except AssertionError as error:
                self.outcome.stalled = str(error)
            for chain in chains:
                chain.cancel()
        await self._close_the_books()
        return self.outcome

    async def _chain(self, role: str) -> None:
        """Let a process of a role die where it shall, one after the other; the last one lives."""
        for case in self.cases.get(role, ()):
            member = self.arena.fleet.start(role, ACTLABEL_FAILPOINT=case.arms)
            member.killed = True  # the fleet need not miss it
            while member.alive:  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(0.03)
            self.outcome.deaths[case] = await self._look_at(member)
        self.arena.fleet.start(role)

    async def _look_at(self, member: Member) -> Death:
        words = [json.loads(line) for line in member.log.read_text().splitlines() if line.startswith("{")]
        last = str(words[-1].get("failpoint")) if words and words[-1]["event"] == "A failpoint strikes." else ""
        death = Death(returncode=member.process.returncode, last_word=last)
        if member.role in _MODELS:
            await hear_out(self.models[member.role])
            death.asked = frozenset(self.logs[member.role].arrived)
            statement = "SELECT COUNT(*) AS n FROM result WHERE uid = $1 AND stage = $2"
            death.stored = (await self.arena.host.database.fetch(statement, self.campaign.uid, member.role))[0]["n"]
        return death

    async def _play(self) -> None:
        arena, campaign = self.arena, self.campaign
        await arena.ingest(campaign, self.scene.wave(0, FIRST_WAVE), seal=False)
        await eventually(self._first_have_died, what="annotator and criticizer die for the first time", within_s=60)
        await arena.ingest(campaign, self.scene.wave(FIRST_WAVE))
        await arena.at_rest(campaign, reviewed=False, within_s=60)
        books = await read_books(arena.host, campaign.uid)
        self.outcome.unledgered = while_open(books, set(self.scene.recording.truth))
        await self._review()

    async def _first_have_died(self) -> bool:
        first = [cases[0] for role, cases in self.cases.items() if role in _MODELS and cases[0].phase == 0]
        return all(case in self.outcome.deaths for case in first)

    async def _review(self) -> None:
        stop = asyncio.Event()
        reviewing = asyncio.create_task(self.doubter.work(stop))
        try:
            await self.arena.at_rest(self.campaign, reviewed=True, within_s=60)
        finally:
            stop.set()
            await reviewing

    async def _close_the_books(self) -> None:
        books = await read_books(self.arena.host, self.campaign.uid)
        registered = set(self.scene.recording.truth)
        self.outcome.violations = at_the_end(
            books, self.campaign, registered, self.scene.doomed, self.doubter.submitted, self.doubter.undone
        )
        for role, log in self.logs.items():
            answered = set(log.paid)
            self.outcome.repeats[role] = sum(log.arrived[request] - 1 for request in answered)
            deaths = [self.outcome.deaths[case] for case in self.cases.get(role, ()) if case in self.outcome.deaths]
            self.outcome.unstored[role] = sum(len(death.asked & answered) - death.stored for death in deaths)


async def clear(fleet: Fleet) -> None:
    """Stop the processes of the round before, as a person would."""
    alive = [member for member in fleet.members if member.alive]
    for member in alive:
        member.killed = True
        member.process.send_signal(15)
    await asyncio.gather(*(asyncio.to_thread(member.process.wait, 60) for member in alive))


async def apply_all(arena: System, scene: Scene, rounds: Sequence[Round]) -> None:
    """Make the campaigns of all rounds at once: the members of a group look for new topics every two seconds only."""
    for number, one in enumerate(rounds):
        scene.campaigns[str(one)] = await scene.apply(arena, f"round-{number}", one.mode or EXACT)

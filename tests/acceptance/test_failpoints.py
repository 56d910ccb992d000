"""Every failpoint in every role: a real process dies there by SIGKILL, is started again, and the ledger of its campaign balances."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from actlabel.runtime.failpoints import POINTS
from tests.acceptance.failpoint_plan import CASES, Case, Round, pack
from tests.acceptance.failpoint_rounds import TUNING, Outcome, Performance, Scene, apply_all, clear
from tests.acceptance.fleet import Fleet
from tests.acceptance.pipeline import make_settings, system
from tests.services.nursery import Nursery
from tests.services.postgres_server import PostgresServer

CALLS_AGAIN = {"result.called", "result.storing"}
"""Where the call of the record that the process died with must be made again."""
CALLS_NONE = {"annotator-record.handled", "annotator-record.produced", "annotator-record.marked"}
"""Reached by the last record of the first wave when every answer is stored. (The critic is given some items twice when the annotator
dies, so that it gets there earlier.)"""


class Theatre:
    """The rounds of this run, each played once, when the first of its cases asks for it."""

    def __init__(self, scene: Scene, cases: list[Case]) -> None:
        self.scene = scene
        self.rounds = pack(cases)
        self._played: dict[str, Outcome | BaseException] = {}

    async def play(self, case: Case) -> tuple[Round, Outcome]:
        """The round of a case, and what was seen of it."""
        mine = next(one for one in self.rounds if case in one.cases)
        if str(mine) not in self._played:
            try:
                self._played[str(mine)] = await self._play(mine)
            except BaseException as error:
                self._played[str(mine)] = error
                raise
        outcome = self._played[str(mine)]
        if isinstance(outcome, BaseException):
            pytest.fail(f"its round failed ({mine}): {outcome}")
        return mine, outcome

    async def _play(self, one: Round) -> Outcome:
        fleet = self.scene.fleet
        async with system(self.scene.folder, fleet.settings) as arena:
            arena.fleet = fleet
            arena.gateway = fleet.gateway
            try:
                if not self.scene.campaigns:
                    await apply_all(arena, self.scene, self.rounds)
                await clear(fleet)
                outcome = await Performance(arena, self.scene, self.scene.campaigns[str(one)], one.deaths).run()
            except BaseException:
                print(fleet.logs())
                raise
        if outcome.stalled:
            print(fleet.logs())
        return outcome


@pytest.fixture(scope="module")
def theatre(request: pytest.FixtureRequest, kafka_address: str, postgres_server: PostgresServer) -> Iterator[Theatre]:
    """Broker, database and nursery, shared by all rounds. The rounds are made of the cases that this run selected."""
    selected = (getattr(item, "callspec", None) for item in request.session.items)
    cases = [spec.params["case"] for spec in selected if spec is not None and isinstance(spec.params.get("case"), Case)]
    address = postgres_server.create_database()
    with tempfile.TemporaryDirectory(prefix="actlabel-") as name:
        folder = Path(name)
        settings = make_settings(folder, stream=f"kafka://{kafka_address}", database=address)
        nursery = Nursery(folder)
        fleet = Fleet(folder=folder, settings=settings, tuning=TUNING, launch=nursery.start)
        yield Theatre(Scene.make(folder, fleet), cases)
        fleet.close()
        nursery.close()
    postgres_server.drop_database(address)


def test_every_declared_point_is_a_case() -> None:
    assert {case.point for case in CASES} == set(POINTS)
    assert len(CASES) == len(set(map(str, CASES)))
    assert sorted(case for one in pack(CASES) for case in one.cases) == sorted(CASES)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_process_dies_and_the_ledger_balances(theatre: Theatre, case: Case) -> None:
    played, outcome = await theatre.play(case)
    assert outcome.violations[case.role] == [], f"its round: {played}; {outcome.stalled}"
    assert case in outcome.deaths, f"the process did not come to die; its round: {played}; {outcome.stalled}"
    death = outcome.deaths[case]
    assert (death.returncode, death.last_word) == (-9, case.point)
    assert (outcome.unledgered, outcome.stalled) == ([], ""), f"its round: {played}"
    repeats, unstored = outcome.repeats.get(case.role, 0), outcome.unstored.get(case.role, 0)
    assert repeats <= unstored, "calls are repeated whose answers were stored"
    if case.point in CALLS_AGAIN and case.role in outcome.repeats:
        assert repeats >= 1
    if str(case) in CALLS_NONE:
        assert len(death.asked) - death.stored == 0, "at the last record of the wave every answer is stored"

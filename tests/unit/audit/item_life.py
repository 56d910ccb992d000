"""A model of one item's life: what every step writes where, and what an audit sees that looks at five moments one after the other."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from actlabel.audit.decide import Moment
from actlabel.audit.facts import Fact, Flag, Place, decision_digest

Step = Callable[["World"], None]
BLANK = Fact(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
EPSILON = 20_000


@dataclass
class World:
    """Topics and tables as far as they concern one item; other items' records are the gaps between its offsets."""

    dice: random.Random
    partition: int = 3
    records: list[Fact] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    rows: dict[tuple[int, int], Fact] = field(default_factory=dict)  # (place, key) → row
    draws: frozenset[int] = frozenset()
    emitting: tuple[tuple[int, int], ...] = ()

    def append(self, fact: Fact) -> Fact:
        """Append a record after some of other items."""
        offset = self.ends.get(fact.place, 0) + self.dice.randrange(3)
        self.ends[fact.place] = offset + 1
        written = fact._replace(offset=fact.offset if fact.place == Place.LETTER else offset, partition=self.partition)
        self.records.append(written)
        return written

    def commit(self, place: int) -> None:
        """The stage that reads ``place`` is done with all of it."""
        self.committed[place] = self.ends.get(place, 0)

    def put(self, fact: Fact, key: int = 0) -> None:
        """Write a row."""
        self.rows[fact.place, key] = fact

    def copy(self) -> "World":
        """Remember this moment."""
        return replace(self, records=list(self.records), ends=dict(self.ends), committed=dict(self.committed), rows=dict(self.rows))


@dataclass
class Life:
    """A random life, as steps in their order."""

    dice: random.Random
    steps: list[Step] = field(default_factory=list)
    expected: str = ""  # where the item is after the last step
    exact: bool = True
    selected: bool = False  # by the first draw; a later revision keeps that decision

    def carry(self, place: Place, *, revision: int) -> Fact:
        """A record as the stage before ``place`` writes it."""
        fact = BLANK._replace(place=place, revision=revision)
        if place >= Place.ANNOTATED:
            fact = fact._replace(annotation=100 + revision)
        if place >= Place.CRITIQUED:
            fact = fact._replace(critique=200 + revision, epsilon=EPSILON)
        return fact

    def decided(self, place: Place, *, revision: int, draw: int, selected: bool, human: int = 0) -> Fact:
        """The same with a decision, and with a review where ``human`` is its revision."""
        flags = Flag.UNCALIBRATED | (Flag.SELECTED if selected else 0) | (Flag.HUMAN if human else 0)
        fact = self.carry(place, revision=revision)._replace(draw=draw, decision=number_of(draw, selected), flags=flags)
        return fact._replace(review=human, human=700 + human if human else 0)

    def add(self, *steps: Step) -> None:
        """Add steps."""
        self.steps.extend(steps)


def number_of(draw: int, selected: bool) -> int:
    """Digest of the one decision that this item gets in a draw."""
    return decision_digest(draw=draw, block=0, cell=1, cell_selected=3, cell_size=9, epsilon_q16=EPSILON, selected=selected)


def live(seed: int) -> Life:
    """Make up a life."""
    dice = random.Random(seed)
    life = Life(dice=dice, exact=dice.random() < 0.6, selected=dice.random() < 0.5)
    _ingest(life, 1)
    if _through_the_models(life, 1):
        _through_the_sampler(life, 1, again=dice.random() < 0.3)
    if not life.exact and life.expected not in {"dead", "purged"} and dice.random() < 0.3:
        _ingest(life, 2)
        if _through_the_models(life, 2):
            _through_the_sampler(life, 2, again=False)
    return life


def _ingest(life: Life, revision: int) -> None:
    row = BLANK._replace(place=Place.REGISTER, revision=revision)
    life.add(
        lambda world: world.put(row),
        lambda world: world.append(life.carry(Place.ITEMS, revision=revision)) and None,
        lambda world: world.put(row._replace(flags=Flag.PRODUCED)),
    )


def _through_the_models(life: Life, revision: int) -> bool:
    """Annotator and criticizer; False where the item stays dead."""
    for place in (Place.ITEMS, Place.ANNOTATED):
        fate = life.dice.random()
        if fate < 0.25 and not _die(life, place, revision):
            return False
        output = life.carry(Place(place + 1), revision=revision)
        if life.dice.random() < 0.3:  # killed before the commit: written twice
            life.add(lambda world, output=output: world.append(output) and None)
        life.add(lambda world, output=output: world.append(output) and None, lambda world, place=place: world.commit(place))
    return True


def _die(life: Life, place: Place, revision: int) -> bool:
    """Put aside, and perhaps sent round again; True where it goes on."""

    def letter(world: World) -> None:
        at = [fact for fact in world.records if fact.place == place and fact.revision == revision][-1].offset
        world.append(BLANK._replace(place=Place.LETTER, revision=revision, offset=at, source=place))

    def row(world: World, flags: int = 0) -> None:
        at = [fact for fact in world.records if fact.place == Place.LETTER][-1].offset
        world.put(BLANK._replace(place=Place.DEAD, offset=at, source=place, flags=flags, partition=world.partition))

    life.add(letter, *([letter] if life.dice.random() < 0.3 else []), row, lambda world: world.commit(place))
    if life.dice.random() < 0.5:
        life.expected = "dead"
        if life.dice.random() < 0.3:
            life.add(lambda world: row(world, Flag.PURGED))
            life.expected = "purged"
        return False
    again = life.carry(place, revision=revision)
    life.add(lambda world: row(world, Flag.REPLAYING))
    if life.dice.random() < 0.3:  # the replay was killed and begun again
        life.add(lambda world: world.append(again) and None)
    life.add(lambda world: world.append(again) and None, lambda world: world.rows.pop((Place.DEAD, 0)) and None)
    return True


def _through_the_sampler(life: Life, revision: int, *, again: bool) -> None:
    selected = life.selected
    flags = Flag.EXACT if life.exact else 0
    candidate = BLANK._replace(place=Place.CANDIDATE, revision=revision, epsilon=EPSILON, flags=flags)
    life.add(lambda world: world.put(candidate))
    if life.exact:
        life.add(lambda world: world.commit(Place.CRITIQUED))
    _draw(life, revision, 1, selected=selected)
    if life.exact and again and not selected:  # a raise of the budget selects it after all
        _draw(life, revision, 2, selected=True)
    elif again and selected:
        _answer(life, revision, 1, number=2, last=True)


def _draw(life: Life, revision: int, draw: int, *, selected: bool) -> None:
    out = life.decided(Place.REVIEW if selected else Place.MERGED, revision=revision, draw=draw, selected=selected)
    decision = BLANK._replace(place=Place.DECISION, draw=draw, decision=number_of(draw, selected))

    def complete(world: World) -> None:
        world.put(decision, draw)
        world.draws |= {draw}
        world.emitting = ((0, world.ends[Place.CRITIQUED]),) if life.exact else ()

    def emitted(world: World) -> None:
        world.emitting = ()
        world.commit(Place.CRITIQUED)

    life.add(complete)
    if life.dice.random() < 0.3:
        life.add(lambda world: world.append(out) and None)
    life.add(lambda world: world.append(out) and None, emitted)
    life.expected = "merged"
    if selected:
        _review(life, revision, draw)


def _review(life: Life, revision: int, draw: int) -> None:
    open_row = BLANK._replace(place=Place.QUEUE, revision=revision, draw=draw, flags=Flag.OPEN)
    life.add(lambda world: world.put(open_row), lambda world: world.commit(Place.REVIEW))
    life.expected = "open in review"
    if life.dice.random() < 0.7:
        _answer(life, revision, draw, number=revision, last=False)


def _answer(life: Life, revision: int, draw: int, *, number: int, last: bool) -> None:
    if last and life.expected != "merged":
        return
    answered = BLANK._replace(place=Place.QUEUE, revision=revision, draw=draw, review=number)
    human = life.decided(Place.MERGED, revision=revision, draw=draw, selected=True, human=number)

    def submit(world: World) -> None:
        world.put(BLANK._replace(place=Place.ANSWER, review=number, human=700 + number), number)
        world.put(answered._replace(flags=Flag.ANSWERED | Flag.PENDING))

    life.add(submit)
    if life.dice.random() < 0.3:
        life.add(lambda world: world.append(human) and None)
    life.add(lambda world: world.append(human) and None, lambda world: world.put(answered._replace(flags=Flag.ANSWERED)))
    life.expected = "merged"


def worlds(life: Life) -> list[World]:
    """Return the world before the first step and after every step."""
    world = World(dice=random.Random(1))
    seen = [world.copy()]
    for step in life.steps:
        step(world)
        seen.append(world.copy())
    return seen


def look(seen: list[World], moments: list[int], tables: list[int]) -> tuple[list[Fact], Moment]:
    """See as an audit does: ``moments`` are early ends, positions, draws and late ends, ``tables`` a moment for each table in between."""
    early, positions, draws, late = (seen[moment] for moment in moments)
    facts = [fact._replace(flags=fact.flags | (Flag.EARLY if fact in early.records else 0)) for fact in late.records]
    places = (Place.REGISTER, Place.DEAD, Place.QUEUE, Place.ANSWER, Place.CANDIDATE, Place.DECISION)
    for place, moment in zip(places, tables, strict=True):
        rows = [(key, row) for (where, key), row in seen[moment].rows.items() if where == place]
        facts += [row for key, row in rows if place != Place.DECISION or key in draws.draws]
    committed = {(place, positions.partition): offset for place, offset in positions.committed.items()}
    return facts, Moment(committed=committed, emitting={positions.partition: seen[moments[2]].emitting})

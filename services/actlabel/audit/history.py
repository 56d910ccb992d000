"""All facts of one id, sorted by place."""

from collections.abc import Iterable

from actlabel.audit.facts import Fact, Flag, Place

TOPIC_PLACES = (Place.ITEMS, Place.ANNOTATED, Place.CRITIQUED, Place.REVIEW, Place.MERGED)


class History:
    """What was found of one id."""

    __slots__ = ("answers", "candidate", "dead", "decisions", "letters", "queue", "records", "register", "unreadable")

    def __init__(self, facts: Iterable[Fact]) -> None:
        """Sort them; their order does not matter."""
        self.records: tuple[list[Fact], ...] = ([], [], [], [], [])  # by topic place, readable ones
        self.unreadable: list[Fact] = []
        self.letters: list[Fact] = []
        self.decisions: dict[int, int] = {}  # draw → digest
        self.answers: dict[int, int] = {}  # review revision → digest
        self.register: Fact | None = None
        self.dead: Fact | None = None
        self.queue: Fact | None = None
        self.candidate: Fact | None = None
        for fact in facts:
            self._take(fact)
        for records in self.records:
            records.sort(key=_offset)

    def _take(self, fact: Fact) -> None:
        if fact.place <= Place.MERGED:
            (self.unreadable if fact.flags & Flag.UNREADABLE else self.records[fact.place]).append(fact)
        elif fact.place == Place.LETTER:
            self.letters.append(fact)
        elif fact.place == Place.DECISION:
            self.decisions[fact.draw] = fact.decision
        elif fact.place == Place.ANSWER:
            self.answers[fact.review] = fact.human
        else:
            self._take_row(fact)

    def _take_row(self, fact: Fact) -> None:
        if fact.place == Place.REGISTER:
            self.register = fact
        elif fact.place == Place.DEAD:
            self.dead = fact
        elif fact.place == Place.QUEUE:
            self.queue = fact
        else:
            self.candidate = fact

    def every(self) -> Iterable[Fact]:
        """Return the readable records of all topics."""
        return (fact for records in self.records for fact in records)

    def newest(self) -> int:
        """Return the content revision that counts: the registered one, or a higher one that came while the audit looked."""
        registered = self.register.revision if self.register is not None else 0
        return max(registered, max((fact.revision for fact in self.every()), default=0))

    def replayed(self, place: int) -> int:
        """Count the records of a topic that a replay put there: each dead one that a later record of the id follows."""
        records = self.records[place]
        if not self.letters or not records:
            return 0
        last = records[-1].offset
        return len({letter.offset for letter in self.letters if letter.source == place and letter.offset < last})


def _offset(fact: Fact) -> int:
    return fact.offset

"""What comes from the sampler: the review topic into the queue."""

from collections.abc import Sequence

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.errors import DeadLetter
from actlabel.review_gateway.domain import Arrival, Entry, State, arrival, queue_order, state_after
from actlabel.review_gateway.entries import entry_of, statements
from actlabel.runtime.campaigns import Campaign
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, Session
from actlabel.runtime.failpoints import failpoint
from actlabel.stream.outgoing import Outgoing


class Arrivals:
    """The handler of the stream loop: any delivery may come again, late, or twice at once."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        """Keep both; nothing is read yet."""
        self._database = database
        self._clock = clock
        self._sql = statements()

    async def handle(self, item: Item, campaign: Campaign) -> Sequence[Outgoing]:
        """Put an item into the queue, or its new decision beside what is there.

        Returns nothing, except for an item that nobody answered and that the newest draw left out: that goes on to ``merged`` as it is.
        """
        _check(item)
        async with self._database.transaction() as session:
            state = await self._place(session, item, campaign.uid)
            failpoint("review.queueing")
        if state is not State.WITHDRAWN:
            return ()
        return (Outgoing(topic=topics.topic(topics.MERGED, campaign.uid), key=item.id.encode(), value=_bytes(item)),)

    async def _place(self, session: Session, item: Item, uid: str) -> State | None:
        """Write what the arrival means; returns the state that it led to, None where it changed nothing that must go on."""
        if await self._insert(session, item, uid):
            return state_after(None, Arrival.NEW, selected=item.decision.selected)
        entry = entry_of((await session.fetch(self._sql["entry_locked"], uid, item.id))[0])
        meaning = arrival(entry, item)
        if meaning is Arrival.KNOWN:
            # the record that led to `withdrawn` may come again before its produce was acknowledged
            is_same = (item.revision, item.decision.draw) == (entry.content_revision, entry.draw)
            return entry.state if is_same else None
        return await self._replace(session, entry, item, meaning)

    async def _insert(self, session: Session, item: Item, uid: str) -> bool:
        order = queue_order(uid, item.id)
        state = state_after(None, Arrival.NEW, selected=item.decision.selected)
        values = (uid, item.id, item.revision, item.decision.draw, _bytes(item), order, state.value)
        return await session.execute(self._sql["insert_entry"], *values) == 1

    async def _replace(self, session: Session, entry: Entry, item: Item, meaning: Arrival) -> State:
        state = state_after(entry, meaning, selected=item.decision.selected)
        key = (entry.uid, entry.item_id)
        values = (*key, item.decision.draw, _bytes(item), state.value)
        if meaning is Arrival.NEW_CONTENT:
            await session.execute(self._sql["replace_content"], *values, item.revision)
            await session.execute(self._sql["delete_skips"], *key)
        else:
            await session.execute(self._sql["replace_item"], *values, self._clock.now())
        return state


def _bytes(item: Item) -> bytes:
    return item.SerializeToString(deterministic=True)


def _check(item: Item) -> None:
    if not item.HasField("decision"):
        raise DeadLetter("no-decision", "an item on the review topic carries no decision of the sampler")
    if not item.id or "\0" in item.id:
        raise DeadLetter("bad-id", "an item id is a text that is not empty and has no NUL character")

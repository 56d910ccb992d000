"""What reviewers say: submit, undecidable, skip, undo, flag. Each is one transaction that holds the item's row."""

import math
from dataclasses import dataclass, replace

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core.errors import RetryLater
from actlabel.review_gateway.domain import SETTLED, Answer, Caller, Entry, State, check_access, check_lease, is_repeated
from actlabel.review_gateway.entries import read_answer, read_entry, statements
from actlabel.review_gateway.leases import Lease, Leases
from actlabel.review_gateway.refusals import NoSuchItem, NothingToUndo, UnknownLabel
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, Session
from actlabel.runtime.failpoints import failpoint
from actlabel.runtime.metrics import REVIEW_ANSWERS, REVIEW_EXPECTED, REVIEW_SECONDS, REVIEW_VERDICTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """An answer that was taken back, or is about to be replaced."""

    lease: Lease
    answer: Answer | None  # None: a skip was taken back
    is_published: bool  # it stays on the merged topic until a new answer replaces it


class Answers:
    """The use cases of a reviewer at work."""

    def __init__(self, *, database: Database, clock: Clock, campaigns: Campaigns, leases: Leases) -> None:
        """Keep them; nothing is read yet."""
        self._database = database
        self._clock = clock
        self._campaigns = campaigns
        self._leases = leases
        self._sql = statements()

    async def submit(
        self, campaign: Campaign, caller: Caller, item_id: str, *, token: str, label: str | None, seconds: float, comment: str
    ) -> int:
        """Take an answer and return its revision; ``label`` None says that the item cannot be decided.

        The same answer under the same lease is taken once. Raises ``NoSuchItem``, ``LeaseLost``, ``AlreadyAnswered``, ``UnknownLabel``.
        """
        version = await self._version(campaign, item_id)
        async with self._database.transaction() as session:
            entry = await read_entry(session, self._sql, campaign.uid, item_id, lock=True)
            if is_repeated(await read_answer(session, self._sql, entry), caller, token, label):
                return entry.revision
            check_lease(entry, caller, token)
            _check_label(entry, version, label)
            answer = self._answer(entry, caller, version, label=label, comment=comment, seconds=seconds)
            await self._settle(session, campaign, entry, answer)
            failpoint("review.answering")
        failpoint("review.answered")
        self._observe(campaign, "submit" if label is not None else "undecidable", seconds)
        if label is not None:
            _judge(campaign.uid, Item.FromString(entry.item), label)
        return answer.revision

    async def _version(self, campaign: Campaign, item_id: str) -> Campaign:
        """Return the version under which the item finishes; read before the transaction, which must not wait for another connection."""
        entry = await read_entry(self._database, self._sql, campaign.uid, item_id)
        return await self._campaigns.get(campaign.uid, _version_number(entry))

    def _answer(self, entry: Entry, caller: Caller, version: Campaign, *, label: str | None, comment: str, seconds: float) -> Answer:
        return Answer(
            revision=entry.revision + 1,
            label=label,
            comment=comment,
            reviewer=caller.name,
            seconds=seconds,
            suggestion_shown=version.file.review.show_suggestion,
            answered_at=self._clock.now(),
            lease_token=entry.lease_token or "",
        )

    async def _settle(self, session: Session, campaign: Campaign, entry: Entry, answer: Answer) -> None:
        key = (entry.uid, entry.item_id)
        said = (answer.revision, answer.label, answer.comment, answer.reviewer, answer.seconds, answer.suggestion_shown)
        await session.execute(self._sql["insert_answer"], *key, *said, answer.answered_at, answer.lease_token)
        publish_after = answer.answered_at + campaign.file.review.undo_seconds
        await session.execute(self._sql["settle"], *key, answer.state.value, answer.revision, publish_after)

    async def skip(self, campaign: Campaign, caller: Caller, item_id: str, *, token: str, reason: str) -> State:
        """Leave an item to somebody else, and return where it stands then: ``waiting``, or ``undecidable`` when enough people skipped it.

        Skipping the revision of an answer leaves the answer as it is. Raises ``NoSuchItem``, ``LeaseLost``.
        """
        version = await self._version(campaign, item_id)
        async with self._database.transaction() as session:
            entry = await read_entry(session, self._sql, campaign.uid, item_id, lock=True)
            if await self._is_repeated_skip(session, entry, caller, token):
                return entry.state
            check_lease(entry, caller, token)
            state = await self._skip(session, campaign, entry, caller, version=version, reason=reason)
        self._observe(campaign, "skip", None)
        return state

    async def _is_repeated_skip(self, session: Session, entry: Entry, caller: Caller, token: str) -> bool:
        rows = await session.fetch(self._sql["skip"], entry.uid, entry.item_id, caller.name)
        return bool(rows) and rows[0]["lease_token"] == token

    async def _skip(self, session: Session, campaign: Campaign, entry: Entry, caller: Caller, *, version: Campaign, reason: str) -> State:
        key = (entry.uid, entry.item_id)
        if entry.state in SETTLED:
            await session.execute(self._sql["end_lease"], *key, entry.state.value)
            return entry.state
        await session.execute(self._sql["put_skip"], *key, caller.name, reason, entry.lease_token, self._clock.now())
        skips = await session.fetch(self._sql["skips"], *key)
        if len(skips) < campaign.file.review.skips_to_undecidable:
            await session.execute(self._sql["end_lease"], *key, State.WAITING.value)
            return State.WAITING
        comment = "skipped: " + ", ".join(row["reason"] for row in skips)
        seconds = max(self._clock.now() - (entry.leased_at or self._clock.now()), 0.0)
        answer = self._answer(entry, caller, version, label=None, comment=comment, seconds=seconds)
        await self._settle(session, campaign, entry, answer)
        return State.UNDECIDABLE

    async def undo(self, campaign: Campaign, caller: Caller, item_id: str) -> Undone:
        """Give an answered or skipped item back to the caller.

        Within the grace period the answer is gone; after it, it stays until the new one replaces it.
        Raises ``NoSuchItem``, ``NothingToUndo``.
        """
        async with self._database.transaction() as session:
            entry = await read_entry(session, self._sql, campaign.uid, item_id, lock=True)
            answer = await read_answer(session, self._sql, entry)
            if answer is None:
                undone = await self._undo_skip(session, campaign, entry, caller)
            else:
                undone = await self._undo_answer(session, campaign, entry, caller, answer)
            failpoint("review.undoing")
        failpoint("review.undone")
        self._observe(campaign, "undo", None)
        return undone

    async def _undo_answer(self, session: Session, campaign: Campaign, entry: Entry, caller: Caller, answer: Answer) -> Undone:
        check_access(entry, caller, frozenset({answer.reviewer}))
        is_published = not entry.can_be_taken_back
        if not is_published:
            entry = await self._take_back(session, entry, answer)
        return Undone(lease=await self._leases.lend(session, campaign, caller, entry), answer=answer, is_published=is_published)

    async def _take_back(self, session: Session, entry: Entry, answer: Answer) -> Entry:
        """Remove the newest answer; what was said before it counts again."""
        key = (entry.uid, entry.item_id)
        await session.execute(self._sql["delete_answer"], *key, answer.revision)
        await session.execute(self._sql["delete_skip"], *key, answer.reviewer)
        before = replace(entry, revision=entry.revision - 1)
        previous = await read_answer(session, self._sql, before)
        is_due = previous is not None and entry.published_draw < entry.draw
        await session.execute(self._sql["take_back"], *key, before.revision, self._clock.now() if is_due else None)
        return replace(before, state=State.LEASED if previous is None else previous.state)

    async def _undo_skip(self, session: Session, campaign: Campaign, entry: Entry, caller: Caller) -> Undone:
        key = (entry.uid, entry.item_id)
        has_skipped = bool(await session.fetch(self._sql["skip"], *key, caller.name))
        is_held = entry.state is State.LEASED and entry.leased_by == caller.name
        if not has_skipped and not is_held:
            raise NoSuchItem
        if not is_held and entry.state is not State.WAITING:
            raise NothingToUndo
        await session.execute(self._sql["delete_skip"], *key, caller.name)
        return Undone(lease=await self._leases.lend(session, campaign, caller, entry), answer=None, is_published=False)

    async def flag(self, campaign: Campaign, caller: Caller, item_id: str, comment: str) -> None:
        """Ask to talk about an item that the caller may see. Raises ``NoSuchItem``."""
        async with self._database.transaction() as session:
            entry = await read_entry(session, self._sql, campaign.uid, item_id, lock=True)
            answerers = await session.fetch(self._sql["answerers"], campaign.uid, item_id)
            check_access(entry, caller, frozenset(row["reviewer"] for row in answerers))
            await session.execute(self._sql["put_flag"], campaign.uid, item_id, caller.name, comment, self._clock.now())
        self._observe(campaign, "flag", None)

    @staticmethod
    def _observe(campaign: Campaign, kind: str, seconds: float | None) -> None:
        REVIEW_ANSWERS.labels(campaign=campaign.uid, kind=kind).inc()
        if seconds is not None:
            REVIEW_SECONDS.labels(campaign=campaign.uid).observe(seconds)


def _judge(uid: str, item: Item, label: str) -> None:
    """Count what a reviewer's label says of the annotator and the critic."""
    doubt = min(max(item.critique.error_probability, 0.0), 1.0)
    tenth = max(math.ceil(doubt * 10 - 1e-9), 1) / 10
    verdict = "confirmed" if label == item.annotation.label else "corrected"
    REVIEW_VERDICTS.labels(uid, f"{tenth:.1f}", verdict).inc()
    REVIEW_EXPECTED.labels(uid).inc(doubt)


def _version_number(entry: Entry) -> int:
    return int(Item.FromString(entry.item).campaign.version)


def _check_label(entry: Entry, version: Campaign, label: str | None) -> None:
    """Raises ``UnknownLabel``, and ``RetryLater`` where another version came in between."""
    if _version_number(entry) != version.version:
        raise RetryLater("the item changed at this moment")
    if label is not None and label not in version.file.task.label_names:
        raise UnknownLabel

"""What an audit of a moving campaign holds on to, and in which order: topic ends, positions, database, topic ends again."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from actlabel.audit.decide import Moment
from actlabel.audit.facts import TOPICS, Place, source_of
from actlabel.core import topics
from actlabel.host.host import Host
from actlabel.runtime.database.port import load_statements
from actlabel.stream.port import Partition

BACKWARDS: Final = (topics.DEAD, topics.MERGED, topics.REVIEW, topics.CRITIQUED, topics.ANNOTATED, topics.ITEMS)
"""Late ends are taken against the stream: whatever lies below the end of one topic came from below the end of the one before it."""

Ends = Mapping[Partition, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Looked at before the database is read."""

    early: Ends  # ends of all topics, taken first: what lies below was there before anything else was looked at
    moment: Moment
    draws: frozenset[int]  # complete ones
    lag: int  # records that their stage had not committed


async def freeze_start(host: Host, uid: str) -> Start:
    """Look at the ends, then at how far every stage is. Raises ``RetryLater``."""
    early = await freeze_ends(host, uid)
    sql = load_statements("actlabel.audit")
    committed = await _committed(host, uid)
    # draws before emissions: a draw that completes in between leaves its emissions behind, never the other way round
    draws = frozenset(row["draw"] for row in await host.database.fetch(sql["complete_draws"], uid))
    emitting: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for row in await host.database.fetch(sql["open_emissions"], uid):
        emitting[row["partition"]].append((row["next_offset"], row["end_offset"]))
    read = {topics.topic(kind, uid): TOPICS[kind] for kind in topics.READS.values()}
    lag = sum(max(0, end - committed[read[p.topic], p.number]) for p, end in early.items() if p.topic in read)
    return Start(early=early, moment=Moment(committed=committed, emitting=emitting), draws=draws, lag=lag)


async def freeze_ends(host: Host, uid: str) -> Ends:
    """Return the ends of every topic of a campaign, one topic after the other, the last stage's first."""
    return {partition: end for kind in BACKWARDS for partition, end in (await host.stream.end_offsets(topics.topic(kind, uid))).items()}


async def _committed(host: Host, uid: str) -> dict[tuple[int, int], int]:
    committed: defaultdict[tuple[int, int], int] = defaultdict(int)
    for stage, kind in topics.READS.items():
        offsets = await host.stream.committed(await host.campaigns.group(uid, stage), topics.topic(kind, uid))
        committed |= {(TOPICS[kind], partition.number): offset or 0 for partition, offset in offsets.items()}
    return committed


def place_of(partition: Partition) -> Place:
    """Name the place that a partition's records are facts of."""
    return source_of(partition.topic)

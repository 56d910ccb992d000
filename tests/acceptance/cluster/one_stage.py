"""Lag on one stage's topic scales that stage, and no other, from zero up and back: no pod runs, only numbers move.

The campaign is applied while no process of any stage runs, and its stages' topics have never been read.
"""

from pathlib import Path
from typing import Final

from actlabel.core import topics
from actlabel.runtime.campaigns import Campaign
from tests.acceptance.cluster.control_plane import ControlPlane
from tests.acceptance.cluster.replicas import Replicas
from tests.acceptance.cluster.timeline import Timeline
from tests.acceptance.data import synthetic
from tests.acceptance.pipeline import System

ITEMS: Final = 1500
_UP_S: Final = 60.0
_DOWN_S: Final = 120.0
_AT_REST: Final = {"annotator": 0, "criticizer": 0, "mirror": 1, "review-gateway": 2, "sampler": 1, "source": 1}
"""What the manifests say for an idle system: people and campaigns without lag keep some at one."""


async def scale_one_stage(plane: ControlPlane, arena: System, folder: Path, timeline: Timeline) -> None:
    """Go through it. Raises ``AssertionError`` with what did not happen."""
    replicas = Replicas(plane, timeline)
    await replicas.until(lambda now: now == _AT_REST, what="an idle system at its smallest", within_s=_DOWN_S)
    timeline.note(f"at rest: {dict(replicas.now)}")
    campaign = await arena.apply("lag", "http://127.0.0.1:9/v1", sampler__budget=10)
    timeline.note("a campaign is applied")
    recording = synthetic(folder, ITEMS, name="lag")
    await arena.ingest(campaign, recording.items)
    timeline.note(f"{ITEMS} items wait on {topics.topic(topics.ITEMS, campaign.uid)}")
    await replicas.until(lambda now: now["annotator"] > 0, what="the annotator is woken", within_s=_UP_S)
    await replicas.until(lambda now: now["annotator"] == 3, what="the annotator at its most", within_s=_UP_S)
    await _work_done(arena, campaign)
    timeline.note("the annotator's group has committed all of them")
    await replicas.until(lambda now: now["annotator"] == 0, what="the annotator back at zero", within_s=_DOWN_S)
    others = {name: counts for name, counts in replicas.history.items() if name != "annotator"}
    assert all(counts[-1] == _AT_REST[name] and len(set(_after_rest(name, counts))) == 1 for name, counts in others.items()), others
    timeline.note("no other Deployment moved")


def _after_rest(name: str, counts: list[int]) -> list[int]:
    """Leave out how it came to rest at the beginning."""
    return counts[counts.index(_AT_REST[name]) :]


async def _work_done(arena: System, campaign: Campaign) -> None:
    """Commit the ends for the stage's group, which has no member: as if pods had worked."""
    topic = topics.topic(topics.ITEMS, campaign.uid)
    ends = await arena.host.stream.end_offsets(topic)
    await arena.host.stream.groups.commit(topics.group(topics.ANNOTATOR), ends)  # type: ignore[attr-defined]  # it is Kafka

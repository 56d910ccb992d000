"""Which records of a merged topic make up a data set: frozen offsets, so that a run can be named and checked."""

import hashlib
import json
from dataclasses import asdict, dataclass

from actlabel.core import topics
from actlabel.core.errors import UserError
from actlabel.stream.port import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetRange:
    """Offsets ``start <= offset < end`` of one partition."""

    partition: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The frozen extent of the merged topic of one campaign."""

    campaign_uid: str
    topic: str
    ranges: tuple[OffsetRange, ...]  # by partition number

    @property
    def records(self) -> int:
        """The most records that the ranges can hold; compaction may have left fewer."""
        return sum(part.end - part.start for part in self.ranges)

    def to_json(self) -> str:
        """Write it with sorted keys, so that equal manifests are equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @property
    def sha256(self) -> str:
        """The hash of ``to_json``, in hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def parse_manifest(text: str, *, where: str) -> Manifest:
    """Read what ``to_json`` wrote; ``where`` begins the message. Raises ``UserError``."""
    try:
        document = json.loads(text)
        ranges = tuple(OffsetRange(**{name: int(part[name]) for name in ("partition", "start", "end")}) for part in document["ranges"])
        return Manifest(campaign_uid=str(document["campaign_uid"]), topic=str(document["topic"]), ranges=ranges)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where}: is no manifest of frozen offsets ({error}); export the campaign again") from error


async def freeze(stream: Stream, campaign_uid: str) -> Manifest:
    """Take the present end offsets of the merged topic as the extent of a data set."""
    topic = topics.topic(topics.MERGED, campaign_uid)
    ends = await stream.end_offsets(topic)
    ranges = tuple(OffsetRange(partition=part.number, start=0, end=end) for part, end in sorted(ends.items()))
    return Manifest(campaign_uid=campaign_uid, topic=topic, ranges=ranges)

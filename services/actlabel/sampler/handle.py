"""What the sampler does with one critiqued item."""

from collections.abc import Sequence

import numpy as np

from actlabel.contracts.v1.item_pb2 import Item
from actlabel.core import topics
from actlabel.core.designs import quantise
from actlabel.core.errors import CampaignPaused, DeadLetter, UserError
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.database.port import Row
from actlabel.sampler.blocks import Blocks
from actlabel.sampler.candidates import Candidate, Candidates
from actlabel.sampler.domain import EXACT
from actlabel.sampler.emission import emit
from actlabel.stream.outgoing import Outgoing


class SamplerHandle:
    """Called by the stage loop for every item; concurrent calls share their writes."""

    def __init__(self, *, candidates: Candidates, blocks: Blocks, campaigns: Campaigns) -> None:
        """Keep the parts."""
        self._candidates = candidates
        self._blocks = blocks
        self._campaigns = campaigns

    async def __call__(self, item: Item, campaign: Campaign) -> Sequence[Outgoing]:
        """Exact mode: store the candidate and return nothing, the draw will emit it. Streaming mode: wait for the block's decision.
        An item that comes again leaves with the decision that is stored.

        Raises ``DeadLetter('no-critique', …)`` for an item without a usable error probability, ``CampaignPaused`` when the budget is used
        up or the mode was changed, ``RetryLater`` when the database is out of reach.
        """
        decided = await self._put(_candidate(item, campaign), campaign)
        if decided is None and campaign.file.sampler.mode == EXACT:
            return []
        if decided is None:
            decided = await self._blocks.wait(campaign, item.id)
        return [emit(item, decided)] if item.revision >= decided["revision"] else []

    async def _put(self, candidate: Candidate, campaign: Campaign) -> Row | None:
        try:
            return await self._candidates.put(candidate)
        except UserError as error:
            await self._campaigns.pause(campaign.uid, topics.SAMPLER, str(error))
            raise CampaignPaused(str(error)) from error


def _candidate(item: Item, campaign: Campaign) -> Candidate:
    if not item.HasField("critique") or not item.HasField("annotation"):
        raise DeadLetter("no-critique", "the item carries no annotation or no critique; the stages before the sampler give it both")
    probability = item.critique.error_probability
    if not 0.0 <= probability <= 1.0:
        raise DeadLetter("no-critique", f"critique.error_probability is {probability}, which does not lie between 0 and 1")
    return Candidate(
        uid=campaign.uid,
        item_id=item.id,
        batch=item.batch,
        revision=item.revision,
        epsilon_q16=int(quantise(np.array([probability]))[0]),
        label=item.annotation.label,
        mode=campaign.file.sampler.mode,
    )

"""One strategy per campaign version: building and encoding its prompt once is what makes a call cheap."""

from collections.abc import Callable
from typing import Generic, TypeVar

from actlabel.chat.strategy import Strategy
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.campaigns import Campaign

T = TypeVar("T")
_MOST = 256


class KeptStrategies(Generic[T]):
    """Makes a strategy when a campaign version is first seen; forgets the oldest beyond a bound (trials bring many)."""

    def __init__(self, make: Callable[[CampaignFile], Strategy[T]]) -> None:
        """``make``: the room's table of strategies."""
        self._make = make
        self._kept: dict[tuple[str, int], Strategy[T]] = {}

    def of(self, campaign: Campaign) -> Strategy[T]:
        """Return the strategy of a campaign version."""
        key = (campaign.uid, campaign.version)
        if key not in self._kept:
            if len(self._kept) >= _MOST:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = self._make(campaign.file)
        return self._kept[key]

"""Finds, or makes, the lane of a request: its endpoints, which lanes of other campaigns share, with their bounds, breakers and quotas."""

import asyncio
import random
from collections.abc import Callable, Collection
from typing import Final

from actlabel.chat.adaptive import AdaptiveBound
from actlabel.chat.breaker import Breaker
from actlabel.chat.endpoints import Address, Endpoint, Lane, Route
from actlabel.chat.http_client import Target
from actlabel.chat.lease import Lease
from actlabel.chat.meters import EndpointMeters, Meters
from actlabel.chat.port import EndpointRefused
from actlabel.chat.quota import Ledger, Unit
from actlabel.runtime import campaign_file, metrics
from actlabel.runtime.clock import Clock

_MOST_REMEMBERED: Final = 1000


class Directory:
    """One per client. What is equal in content is the same lane."""

    def __init__(self, *, clock: Clock, chance: random.Random, ledger: Ledger, most: int, refilled: Callable[[], None]) -> None:
        """``most``: requests of this process; no bound rises above. ``refilled``: called when a quota has more."""
        self._clock = clock
        self._chance = chance
        self._ledger = ledger
        self._most = most
        self._refilled = refilled
        self._by_identity: dict[tuple[str, str, int], tuple[campaign_file.Model, Lane]] = {}
        self._lanes: dict[tuple[str, str, str], Lane] = {}
        self._addresses: dict[str, Address] = {}
        self._endpoints: dict[tuple[str, campaign_file.Endpoint], Endpoint] = {}
        self._leases: dict[tuple[str, str, tuple[tuple[Unit, int], ...]], Lease] = {}

    @property
    def lanes(self) -> Collection[Lane]:
        """All that there are."""
        return self._lanes.values()

    def lane(self, uid: str, stage: str, model: campaign_file.Model) -> Lane:
        """Find the lane of a campaign at a stage."""
        key = (uid, stage, id(model))
        known = self._by_identity.get(key)
        if known is not None and known[0] is model:
            return known[1]
        if len(self._by_identity) >= _MOST_REMEMBERED:
            self._by_identity.clear()
        lane = self._same(uid, stage, model)
        self._by_identity[key] = model, lane
        return lane

    def _same(self, uid: str, stage: str, model: campaign_file.Model) -> Lane:
        key = (uid, stage, model.model_dump_json())
        if key not in self._lanes:
            self._lanes[key] = self._new_lane(stage, model)
        return self._lanes[key]

    def _new_lane(self, stage: str, model: campaign_file.Model) -> Lane:
        routes = tuple(
            Route(endpoint=self._endpoint(place, stage, model), weight=place.weight, lease=self._lease(place.url, model))
            for place in model.addresses()
        )
        return Lane(model=model, routes=routes, meters=Meters(stage, model.model))

    def _endpoint(self, place: campaign_file.Endpoint, stage: str, model: campaign_file.Model) -> Endpoint:
        key = (model.model, place.model_copy(update={"weight": 1.0}))
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            endpoint = self._endpoints[key] = Endpoint(
                place=place,
                address=self._addresses.setdefault(place.url, Address()),
                bound=AdaptiveBound(ceiling=min(model.calls_in_flight, self._most), now_s=self._clock.monotonic()),
                breaker=Breaker(chance=self._chance),
                meters=EndpointMeters(stage, model.model, place.url),
                target=_target(place.url),
            )
        endpoint.ceiling = min(endpoint.ceiling + model.calls_in_flight, self._most)
        endpoint.bound.raise_ceiling(endpoint.ceiling, now_s=self._clock.monotonic())
        return endpoint

    def _lease(self, url: str, model: campaign_file.Model) -> Lease | None:
        limits: dict[Unit, int | None] = {"requests": model.requests_per_minute, "tokens": model.tokens_per_minute}
        per_minute = {unit: limit for unit, limit in limits.items() if limit is not None}
        if not per_minute:
            return None
        key = (url, model.model, tuple(per_minute.items()))
        if key not in self._leases:
            for unit, limit in per_minute.items():
                metrics.CHAT_LIMIT.labels(model.model, url, unit).set(limit)
            self._leases[key] = Lease(
                endpoint=url,
                model=model.model,
                per_minute=per_minute,
                ledger=self._ledger,
                clock=self._clock,
                chance=self._chance,
                refilled=self._refilled,
            )
        return self._leases[key]

    async def close(self) -> None:
        """Stop asking for quotas."""
        await asyncio.gather(*(lease.close() for lease in self._leases.values()))


def _target(url: str) -> Target:
    try:
        return Target(url.rstrip("/") + "/chat/completions")
    except ValueError as error:
        raise EndpointRefused(f"{url}: {error}; mend endpoint in the campaign file") from error

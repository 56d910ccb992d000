"""The purse: a campaign's spend cap is hard, over all processes and stages.

Before a call the most that it can cost is held back from a lease, and a lease is reserved in the database before it is used, in a
transaction that looks at everybody's sums. One lease serves many calls. What a process that was killed had reserved stays reserved, for
nobody can know whether it was spent; others only stop waiting for it. A person who raises ``spend_cap_usd`` goes on, and one who knows
what was really spent can say so (``settlement.py``).

The most that a call can cost counts a token per byte of text, `TOKENS_PER_IMAGE` per image and ``max_output_tokens``, or the dearest
call seen so far where that was more. Requests that broke without an answer count as free: nobody reports their usage.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from actlabel.chat.port import ChatRequest, TokenUsage
from actlabel.chat.trial import is_trial
from actlabel.chat.wire import cost_usd
from actlabel.core.errors import ActlabelError, CampaignPaused, RetryLater
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, Row, load_statements
from actlabel.runtime.failpoints import failpoint
from actlabel.runtime.log import get_log

TOKENS_PER_IMAGE = 4096
_CALLS_PER_LEASE = 200
_SETTLE_INTERVAL_S = 5.0
_LEASE_S = 60.0
_PATIENCE_S = 5.0
_ROUNDING_USD = 1e-12
_HELD = "the rest of the spend cap is held for calls in flight"
_log = get_log(__name__)
Cap = Callable[[], Awaitable[float]]


class SpendCapReached(ActlabelError):
    """The campaign may not spend more on models."""

    def __init__(self, message: str, *, cap_usd: float) -> None:
        """``cap_usd``: the cap that was reached; a later version of the campaign may have another."""
        super().__init__(message)
        self.cap_usd = cap_usd


async def present_cap(campaign: Campaign, campaigns: Campaigns) -> float:
    """Look up the cap of the newest version: items of older versions go on when a person raises it. A trial has the cap of its document."""
    if is_trial(campaign):
        return campaign.file.spend_cap_usd
    version = (await campaigns.status(campaign.uid)).version
    return (await campaigns.get(campaign.uid, version)).file.spend_cap_usd


def most_usd(request: ChatRequest) -> float:
    """Bound what a request can cost."""
    input_tokens = request.text_bytes() + TOKENS_PER_IMAGE * len(request.media)
    return cost_usd(TokenUsage(input_tokens=input_tokens, output_tokens=request.model.max_output_tokens), request.model.price)


@dataclass(slots=True)
class _Account:
    """What this purse knows about one campaign. The row in the database lags behind; ``lease_usd`` covers the difference."""

    uid: str
    lease_usd: float = 0.0  # reserved in the database and not yet spent
    held_usd: float = 0.0  # of it, for calls in flight
    spent_usd: float = 0.0
    calls: int = 0
    dearest_usd: float = 0.0
    settled: bool = True  # the row says what this object says
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    visit: asyncio.Lock = field(default_factory=asyncio.Lock)
    returned: asyncio.Event = field(default_factory=asyncio.Event)

    def free_usd(self) -> float:
        return self.lease_usd - self.held_usd

    def mean_usd(self) -> float:
        return self.spent_usd / self.calls if self.calls else 0.0


class Hold:
    """Money held back for one call, while an ``async with`` block makes it; the block sets ``cost_usd``."""

    __slots__ = ("_account", "_cap", "_purse", "amount_usd", "cost_usd")

    def __init__(self, purse: "Purse", account: _Account, amount_usd: float, cap: Cap) -> None:
        """``amount_usd``: the most that the call can cost; 0: nothing is held."""
        self._purse = purse
        self._account = account
        self._cap = cap
        self.amount_usd = amount_usd
        self.cost_usd: float | None = None  # set when the answer is there

    async def __aenter__(self) -> Self:
        """Take the money. Raises what ``Purse.hold`` says."""
        account = self._account
        if not self.amount_usd:
            return self
        if account.turn.locked() or account.free_usd() + _ROUNDING_USD < self.amount_usd:
            await self._purse.take(account, self.amount_usd, self._cap)
        else:
            account.held_usd += self.amount_usd
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Give back what was not spent."""
        if not self.amount_usd:
            return
        if self.cost_usd is None and kind is not None and issubclass(kind, asyncio.CancelledError):
            # the endpoint goes on and charges: count what a call usually costs
            self.cost_usd = self._account.mean_usd() or self.amount_usd
        _give_back(self._account, self)


class Purse:
    """One per process and stage."""

    def __init__(self, *, database: Database, clock: Clock, stage: str, patience_s: float = _PATIENCE_S) -> None:
        """``stage``: part of the owner's name in the table. ``patience_s``: how long a call waits for money that its process holds."""
        self._database = database
        self._clock = clock
        self._owner = f"{stage}-{secrets.token_hex(8)}"
        self._patience_s = patience_s
        self._sql = load_statements("actlabel.chat")
        self._accounts: dict[str, _Account] = {}

    def hold(self, request: ChatRequest, cap: Cap) -> Hold:
        """Hold money back while the block asks the model; the block sets ``cost_usd``. A model without a price needs none.

        ``cap``: the present cap of the campaign in dollars, asked at every reservation.
        Raises ``SpendCapReached`` when the cap leaves no room, ``CampaignPaused`` while calls in flight hold the rest of it (a stage then
        lets the record wait without a place and asks again soon), ``RetryLater`` when the database is out of reach.
        """
        account = self._accounts.get(request.uid)
        if account is None:
            account = self._accounts[request.uid] = _Account(uid=request.uid)
        bound = most_usd(request)
        return Hold(self, account, max(bound, account.dearest_usd) if bound else 0.0, cap)

    async def take(self, account: _Account, amount_usd: float, cap: Cap) -> None:
        """Hold money back, in turn: reserve more where there is too little."""
        until_s = self._clock.monotonic() + self._patience_s
        async with account.turn:
            while account.free_usd() + _ROUNDING_USD < amount_usd:
                account.returned.clear()
                refusal = await self._reserve(account, amount_usd, await cap())
                if refusal is not None and account.held_usd <= _ROUNDING_USD:
                    raise refusal
                if refusal is not None:
                    await _returned(account, until_s - self._clock.monotonic())
            account.held_usd += amount_usd

    async def _reserve(self, account: _Account, least_usd: float, cap: float) -> ActlabelError | None:
        """Take a lease that serves this call and the next ones, or say why there is none.

        As much again as calls in flight hold: whoever has hundreds of them gets there in a few steps, and seldom comes back.
        """
        wanted = max(4 * least_usd, _CALLS_PER_LEASE * account.mean_usd(), account.held_usd) - account.free_usd()
        least = least_usd - account.free_usd()
        async with account.visit, self._database.transaction() as session:
            await session.fetch(self._sql["lock_spend"], account.uid)
            others = (await session.fetch(self._sql["spend_of_others"], account.uid, self._owner, self._clock.now()))[0]
            room = cap - others["spent"] - others["reserved"] - account.spent_usd - account.lease_usd
            if room + _ROUNDING_USD < least:
                return _refusal(cap, account, others)
            granted = min(wanted, room)
            row = self._row(account, account.lease_usd + granted)
            await session.execute(self._sql["put_spend"], *row)
        failpoint("spend.reserved")
        # only now: where the commit failed, the row says too much or too little, and its next write puts it right
        account.lease_usd += granted
        account.settled = account.spent_usd == row[2]
        return None

    def _row(self, account: _Account, reserved_usd: float) -> tuple[str, str, float, float, float]:
        return (account.uid, self._owner, account.spent_usd, max(reserved_usd, 0.0), self._clock.now() + _LEASE_S)

    async def settle(self) -> None:
        """Write what was spent, and give back what nothing is held for. Raises ``RetryLater``."""
        for account in list(self._accounts.values()):
            async with account.visit:
                if account.held_usd <= _ROUNDING_USD and not account.turn.locked():
                    account.settled = account.settled and account.lease_usd == 0.0
                    account.lease_usd = 0.0
                if account.settled and account.lease_usd == 0.0:
                    continue
                row = self._row(account, account.lease_usd)
                await self._database.execute(self._sql["put_spend"], *row)
                account.settled = account.spent_usd == row[2]

    async def run(self) -> None:
        """Settle every few seconds, for ever: the sign of life of this process's leases."""
        while True:
            await self._clock.sleep(_SETTLE_INTERVAL_S)
            try:
                await self.settle()
            except RetryLater as error:
                _log.warning("the money spent could not be written and is tried again", error=str(error))

    async def close(self) -> None:
        """Write what was spent and give everything back; what cannot be written stays reserved."""
        try:
            await self.settle()
        except RetryLater as error:
            _log.warning("the money spent could not be written; what was reserved stays reserved", error=str(error))


async def _returned(account: _Account, most_s: float) -> None:
    """Wait until a call of this process gives money back; raise ``CampaignPaused`` where that takes too long."""
    try:
        async with asyncio.timeout(max(most_s, 0.0)):
            await account.returned.wait()
    except TimeoutError as error:
        raise CampaignPaused(_HELD) from error


def _give_back(account: _Account, hold: Hold) -> None:
    account.held_usd = max(account.held_usd - hold.amount_usd, 0.0)
    if hold.cost_usd is not None:
        account.spent_usd += hold.cost_usd
        account.lease_usd = max(account.lease_usd - hold.cost_usd, 0.0)
        account.calls += 1
        account.dearest_usd = max(account.dearest_usd, hold.cost_usd)
        account.settled = False
    account.returned.set()


def _refusal(cap: float, account: _Account, others: Row) -> ActlabelError:
    if others["reserved_by_living"] > _ROUNDING_USD:
        return CampaignPaused(_HELD)
    lost = others["reserved"]
    gone = f" and ${lost:.4f} were reserved by processes that ended without settling (`campaign settle`)" if lost > _ROUNDING_USD else ""
    return SpendCapReached(
        f"spend cap of ${cap:g} reached: ${others['spent'] + account.spent_usd:.4f} are spent{gone}, and the next call may cost more "
        "than the rest; raise spend_cap_usd and apply the campaign again",
        cap_usd=cap,
    )

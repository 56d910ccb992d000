"""The sampler over gRPC: a what-if, the budget, and why an item was chosen or not."""

import json
from typing import Any

import grpc

from actlabel.contracts.v1 import sampler_pb2, sampler_pb2_grpc
from actlabel.core.errors import UserError
from actlabel.core.random_numbers import random_number
from actlabel.core.rules import Rule
from actlabel.runtime.campaigns import Campaign, Campaigns
from actlabel.runtime.database.port import Row
from actlabel.runtime.rpc import answer
from actlabel.sampler.domain import Parameters
from actlabel.sampler.draw_store import DrawStore, to_decision
from actlabel.sampler.explanation import explain
from actlabel.sampler.parameters import CampaignKeys, allowance
from actlabel.sampler.what_if import what_if

SERVICE = "actlabel.contracts.v1.Sampler"
_Context = grpc.aio.ServicerContext[Any, Any]
_DEFAULT_BETA = Rule().beta


class SamplerService(sampler_pb2_grpc.SamplerServicer):
    """See ``sampler.proto``."""

    def __init__(self, *, store: DrawStore, campaigns: Campaigns, keys: CampaignKeys) -> None:
        """Keep the parts."""
        self._store = store
        self._campaigns = campaigns
        self._keys = keys

    async def Plan(self, request: sampler_pb2.PlanRequest, context: _Context) -> sampler_pb2.PlanResponse:  # noqa: N802 - the name in the proto
        """Say what a draw over these error probabilities would do."""
        return await answer(context, _plan(request))

    async def GetBudget(self, request: sampler_pb2.GetBudgetRequest, context: _Context) -> sampler_pb2.GetBudgetResponse:  # noqa: N802
        """Say what of a campaign's human budget is taken and answered."""
        return await answer(context, self._budget(request))

    async def Explain(self, request: sampler_pb2.ExplainRequest, context: _Context) -> sampler_pb2.ExplainResponse:  # noqa: N802
        """Say how an item was decided upon."""
        return await answer(context, self._explain(request))

    async def _budget(self, request: sampler_pb2.GetBudgetRequest) -> sampler_pb2.GetBudgetResponse:
        campaign = await self._campaigns.newest(request.campaign)
        rows = await self._fetch("budget", campaign.uid)
        return sampler_pb2.GetBudgetResponse(
            budget=_allowed(campaign, rows[0] if rows else None),
            taken=rows[0]["taken"] if rows else 0,
            answered=(await self._fetch("answered", campaign.uid))[0]["items"],
            draw=(await self._fetch("latest_draw", campaign.uid))[0]["draw"],
        )

    async def _explain(self, request: sampler_pb2.ExplainRequest) -> sampler_pb2.ExplainResponse:
        campaign = await self._campaigns.newest(request.campaign)
        rows = await self._fetch("explain", campaign.uid, request.item_id)
        if not rows:
            raise UserError(await self._why_undecided(campaign, request.item_id))
        frozen = await self._campaigns.get(campaign.uid, _campaign_version(rows[0]))
        number = random_number(await self._keys.of(frozen), request.item_id)
        return sampler_pb2.ExplainResponse(decision=to_decision(rows[0]), explanation=explain(rows[0], number=number))

    async def _why_undecided(self, campaign: Campaign, item_id: str) -> str:
        rows = await self._fetch("candidate", campaign.uid, item_id)
        if not rows:
            return f"item {item_id!r} of campaign {campaign.name!r} has not reached the sampler; `actlabel watch` shows where items are"
        if rows[0]["block"] is None:
            return f"item {item_id!r} waits for its block"
        batch = rows[0]["draw_batch"]
        return f"item {item_id!r} waits for the draw of batch {batch}, which starts when the batch is sealed and all of it has come through"

    async def _fetch(self, statement: str, *values: Any) -> list[Row]:
        return list(await self._store.database.fetch(self._store.sql[statement], *values))


def _campaign_version(row: Row) -> int:
    """Name the version that the draw, or in streaming mode the block, was made under."""
    if row["block_manifest"] is not None:
        return int(json.loads(row["block_manifest"])["parameters"]["campaign_version"])
    return Parameters.from_json(row["parameters"]).campaign_version


async def _plan(request: sampler_pb2.PlanRequest) -> sampler_pb2.PlanResponse:
    result = what_if(
        request.error_probability,
        budget=request.budget,
        rule=Rule(name=request.rule, beta=request.beta or _DEFAULT_BETA),
        audit_share=request.audit_share,
    )
    return sampler_pb2.PlanResponse(
        inclusion_probability=result.inclusion,
        expected_error_recall=result.expected_error_recall,
        random_error_recall=result.random_error_recall,
        interval_note=result.interval_note,
    )


def _allowed(campaign: Campaign, row: Row | None) -> int:
    """Return a count as the campaign states it; of a share, what the items decided upon so far allow."""
    count = allowance(campaign).count
    return count if count is not None else int(row["budget"]) if row is not None else 0

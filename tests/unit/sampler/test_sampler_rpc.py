"""The sampler over gRPC, on a real server in this process."""

from collections.abc import AsyncIterator

import grpc
import pytest

from actlabel.contracts.v1 import sampler_pb2, sampler_pb2_grpc
from actlabel.core.random_numbers import random_number
from actlabel.runtime.health import Health
from actlabel.runtime.rpc import serve_rpc
from actlabel.sampler.rpc import SERVICE, SamplerService
from tests.unit.sampler.sampling import KEY, Sampling, campaign_file, epsilons


@pytest.fixture
async def stub(sampling: Sampling) -> AsyncIterator[sampler_pb2_grpc.SamplerStub]:
    replica = sampling.replica()
    service = SamplerService(store=replica.store, campaigns=sampling.campaigns, keys=replica.keys)
    server = serve_rpc(
        host="127.0.0.1",
        port=0,
        health_checks=Health(),
        services=[SERVICE],
        register=lambda server: sampler_pb2_grpc.add_SamplerServicer_to_server(service, server),
    )
    async with server as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield sampler_pb2_grpc.SamplerStub(channel)


async def test_plan_answers_in_the_order_of_the_request_and_touches_nothing(stub, sampling: Sampling) -> None:
    doubts = [0.9, 0.1, 0.5, 0.1, 0.7]
    answer = await stub.Plan(sampler_pb2.PlanRequest(error_probability=doubts, budget=2, rule="threshold"))
    assert list(answer.inclusion_probability) == [1, 0, 0, 0, 1]
    assert answer.expected_error_recall == pytest.approx(1.6 / 2.3)
    assert answer.random_error_recall == pytest.approx(2 / 5)
    assert answer.interval_note.startswith("No accuracy interval: some items could never be selected.")
    assert await sampling.database.fetch("SELECT * FROM budget") == []


@pytest.mark.parametrize(
    ("request_", "interval"),
    [
        ({"budget": 400, "audit_share": 0.1}, "An accuracy interval will exist: 40 audit reviews"),
        ({"budget": 200, "audit_share": 0.1}, "No accuracy interval: 20 audit reviews are fewer than 30; raise the budget to 300"),
        ({"budget": 1000, "audit_share": 0.1}, "Every item would be reviewed"),
        ({"budget": 200, "audit_share": 0.0}, "No accuracy interval: some items could never be selected"),
    ],
)
async def test_plan_says_whether_there_will_be_an_interval(stub, request_: dict, interval: str) -> None:
    doubts = list(epsilons(1000).values())
    answer = await stub.Plan(sampler_pb2.PlanRequest(error_probability=doubts, rule="threshold", **request_))
    assert answer.interval_note.startswith(interval)
    assert sum(answer.inclusion_probability) == pytest.approx(request_["budget"])


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"error_probability": [], "rule": "threshold"}, "there are no items to draw from"),
        ({"error_probability": [0.1, float("nan")], "rule": "threshold"}, "error_probability[1]: nan does not lie between 0 and 1"),
        ({"error_probability": [1.1], "rule": "threshold"}, "error_probability[0]: 1.1 does not lie between 0 and 1"),
        ({"error_probability": [0.1], "budget": 2, "rule": "threshold"}, "budget: 2 reviews out of 1 items cannot be"),
        ({"error_probability": [0.1], "rule": "best"}, "rule: 'best' is not a sampling rule"),
        ({"error_probability": [0.1] * 99, "budget": 2, "audit_share": 0.5, "rule": "uniform"}, "2 reviews do not cover the audit"),
    ],
)
async def test_plan_refuses_with_one_line(stub, request_: dict, sentence: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Plan(sampler_pb2.PlanRequest(**request_))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert sentence in (refused.value.details() or "")


async def test_the_budget_before_and_after_a_draw(stub, sampling: Sampling) -> None:
    campaign = await sampling.ready_to_draw(campaign_file(budget=50), epsilons(200))
    request = sampler_pb2.GetBudgetRequest(campaign=campaign.name)
    assert await stub.GetBudget(request) == sampler_pb2.GetBudgetResponse(budget=50)
    await sampling.replica().draws.step()
    assert await stub.GetBudget(request) == sampler_pb2.GetBudgetResponse(budget=50, taken=50, draw=1)
    states = {"a": "answered", "b": "undecidable", "c": "leased", "d": "waiting"}
    await sampling.database.execute_many(
        "INSERT INTO review (uid, item_id, content_revision, draw, item, queue_order, state, revision, floor_revision, started_revision, "
        "published_revision, published_draw) VALUES ($1, $2, 1, 1, $3, 0, $4, 1, 0, 0, 0, 0)",
        [(campaign.uid, item_id, b"", state) for item_id, state in states.items()],
    )
    assert (await stub.GetBudget(request)).answered == 2


async def test_explain_names_rule_cell_and_cut_off(stub, sampling: Sampling) -> None:
    doubts = epsilons(300)
    campaign = await sampling.ready_to_draw(campaign_file(budget=60, audit_share=0.5), doubts)
    replica = sampling.replica()
    await replica.draws.step()
    key = await sampling.campaigns.secret_key(campaign, KEY)
    kinds = set()
    for item_id in doubts:
        answer = await stub.Explain(sampler_pb2.ExplainRequest(campaign=campaign.name, item_id=item_id))
        decision, words = answer.decision, answer.explanation
        assert words.startswith(f"Rule threshold, draw 1: the error probability {decision.epsilon_q16 / 65536:.4f} falls into cell ")
        assert f"{decision.cell_selected} of {decision.cell_size} items are reviewed" in words
        if "random number" in words:
            number, cut_off = words.split("random number ")[1][:16], words.split("cut-off ")[1][:16]
            assert number == f"{random_number(key, item_id):016x}"
            assert decision.selected == (number <= cut_off) == words.endswith("not above it: reviewed.")
        kinds.add(("random number" in words, decision.selected))
    assert (True, True) in kinds
    assert (True, False) in kinds


@pytest.mark.parametrize(
    ("item_id", "sentence"),
    [
        ("item-00001", "item 'item-00001' waits for the draw of batch 1"),
        ("nobody", "item 'nobody' of campaign 'doubt' has not reached the sampler"),
    ],
)
async def test_explain_says_what_an_undecided_item_waits_for(stub, sampling: Sampling, item_id: str, sentence: str) -> None:
    await sampling.ready_to_draw(campaign_file(), epsilons(60))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Explain(sampler_pb2.ExplainRequest(campaign="doubt", item_id=item_id))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert (refused.value.details() or "").startswith(sentence)


async def test_an_unknown_campaign_is_named(stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetBudget(sampler_pb2.GetBudgetRequest(campaign="nowhere"))
    assert "campaign 'nowhere' does not exist" in (refused.value.details() or "")

"""What a process has counted of a campaign goes with it, and nothing that comes late brings it back."""

from prometheus_client import REGISTRY

from actlabel.core.errors import DeadLetter, RetryLater
from tests.unit.stream.bed import STAGE, Bed, Handler, until


def _counted(uid: str) -> dict[str, float]:
    return {
        f"{sample.name} {sample.labels.get('outcome', '')}": sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.labels.get("campaign") == uid and not sample.name.endswith("_created")
    }


def _dropped() -> float:
    return REGISTRY.get_sample_value("actlabel_records_total", {"stage": STAGE, "campaign": "", "outcome": "dropped"}) or 0.0


async def test_counters_of_a_deleted_campaign_are_removed_and_what_ends_late_belongs_to_none(bed: Bed) -> None:
    handler, before = Handler(), _dropped()
    campaign, other = await bed.campaign("gone"), await bed.campaign("stays")
    handler.failing = {"bad": DeadLetter("test", "as the test wants it"), "again": RetryLater("not now")}
    gate = handler.hold("slow", "later")  # at work when the campaign goes; its topic is not read any more
    async with bed.running(handler):
        await bed.send(campaign, ["good", "bad", "again", "slow", "later"])
        await bed.send(other, ["good"])
        await until(lambda: _counted(campaign.uid).get("actlabel_records_total retried", 0.0) > 3)
        await until(lambda: {"actlabel_records_total done", "actlabel_dead_letters_total "} <= _counted(campaign.uid).keys())
        await bed.campaigns.delete(campaign.uid)
        await until(lambda: "actlabel_records_total done" not in _counted(campaign.uid))
        gate.set()
        await until(lambda: _dropped() == before + 3)  # again, slow, later
        assert {name for name in _counted(campaign.uid) if "lag" not in name} == set()
        assert _counted(other.uid)["actlabel_records_total done"] == 1

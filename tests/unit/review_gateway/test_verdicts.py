"""What reviewers say of the model and its critic is counted, and of a campaign by its uid alone."""

import pytest
from prometheus_client import REGISTRY

from tests.unit.review_gateway.records import ANN, Desk


def verdicts(uid: str) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["doubt"], sample.labels["verdict"]): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "actlabel_review_verdicts_total" and sample.labels["campaign"] == uid
    }


async def test_labels_confirm_or_correct_at_the_tenth_of_doubt_that_the_critic_had(desk: Desk) -> None:
    said = (("a", 0.73, "pro"), ("b", 0.8, "con"), ("c", 0.0, "con"), ("d", 1.0, "neutral"), ("e", 0.30000000000000004, "con"))
    for item_id, doubt, label in said:
        await desk.put(item_id, critique__error_probability=doubt)
        held = await desk.take(ANN)
        await desk.say(ANN, item_id, held[item_id], label)
    uid = desk.campaign.uid
    assert verdicts(uid) == {
        ("0.8", "corrected"): 1,
        ("0.8", "confirmed"): 1,
        ("0.1", "confirmed"): 1,
        ("1.0", "corrected"): 1,
        ("0.3", "confirmed"): 1,
    }
    expected = REGISTRY.get_sample_value("actlabel_review_expected_corrections_total", {"campaign": uid})
    assert expected == pytest.approx(0.73 + 0.8 + 0.0 + 1.0 + 0.3)


async def test_an_undecidable_says_nothing_of_either(desk: Desk) -> None:
    await desk.put("a")
    held = await desk.take(ANN)
    await desk.say(ANN, "a", held["a"], None)
    assert verdicts(desk.campaign.uid) == {}
    assert REGISTRY.get_sample_value("actlabel_review_answers_total", {"campaign": desk.campaign.uid, "kind": "undecidable"}) == 1

"""What the criticizer says to a model, and what it makes of the answer."""

from typing import Any

import orjson
import pytest

from actlabel.chat.parsing import BadAnswer
from actlabel.chat.port import ChatAnswer, TokenUsage
from actlabel.contracts.v1.item_pb2 import Item, Media
from actlabel.core.errors import DeadLetter
from actlabel.criticizer.domain import strategy_of
from actlabel.runtime.campaign_file import CampaignFile


def strategy(**criticizer: Any) -> Any:
    return strategy_of(
        CampaignFile.model_validate(
            {
                "name": "stance",
                "task": {"question": "What is the stance?", "labels": ["agrees", "neutral", "disagrees"]},
                "annotator": {"endpoint": "http://here/v1", "model": "m"},
                "criticizer": {"endpoint": "http://here/v1", "model": "n", **criticizer},
                "sampler": {"budget": "10%"},
                "spend_cap_usd": 1,
            }
        )
    )


def item(text: str = "Global warming is a hoax.", label: str = "neutral") -> Item:
    made = Item(id="i")
    made.content.parts.add(name="text", text=text)
    if label:
        made.annotation.label = label
    made.annotation.rationale = "Critic: answer 0."
    return made


def answer(**fields: Any) -> ChatAnswer:
    text = orjson.dumps({"error_probability": 0.9, "suggested_label": "disagrees", "reason": "It denies it.", "evidence": [], **fields})
    return ChatAnswer(text=text.decode(), finish_reason="stop", usage=TokenUsage(input_tokens=1, output_tokens=1), cost_usd=0.0)


def user_texts(strategy: Any, made: Item) -> list[str]:
    return [part.text for part in strategy.render(made).messages[1].parts]


def test_label_under_review_is_a_part_of_its_own_and_the_rationale_stays_away() -> None:
    texts = user_texts(strategy(), item())
    assert texts[1] == "Global warming is a hoax."
    assert texts[-1] == "Label under review: neutral"
    assert not any("Critic: answer 0." in text for text in texts)


def test_rationale_is_shown_where_the_campaign_says_so() -> None:
    texts = user_texts(strategy(show_rationale=True), item())
    assert texts[-3:-2] == ["Label under review: neutral"]
    assert texts[-1] == "Critic: answer 0."


def test_another_label_is_another_question() -> None:
    ask = strategy()
    assert ask.render(item()).messages[1].canonical != ask.render(item(label="agrees")).messages[1].canonical


def test_item_without_annotation_is_a_dead_letter() -> None:
    with pytest.raises(DeadLetter) as raised:
        strategy().render(item(label=""))
    assert raised.value.reason == "no-annotation"


def test_schema_in_the_order_in_which_it_is_answered() -> None:
    fields = ["error_probability", "suggested_label", "reason", "evidence"]
    assert list(strategy(strategy="naive").render(item()).schema.properties) == fields
    schema = orjson.loads(strategy().render(item()).schema.canonical)
    assert schema["required"] == ["reasoning", *fields]
    assert schema["properties"]["error_probability"] == {"type": "number", "minimum": 0, "maximum": 1}


def test_answer_is_read() -> None:
    said = strategy().read(answer(), item())
    assert (said.error_probability, said.suggested_label, said.reason, said.evidence) == (0.9, "disagrees", "It denies it.", ())


@pytest.mark.parametrize("suggested", ["neutral", "", None])
def test_critic_that_agrees_suggests_nothing(suggested: str | None) -> None:
    assert strategy().read(answer(suggested_label=suggested), item()).suggested_label == ""


def test_reasoning_serves_as_reason_where_there_is_none() -> None:
    assert strategy().read(answer(reason="", reasoning="Because."), item()).reason == "Because."


def test_only_quotes_that_the_item_holds_are_evidence() -> None:
    said = strategy().read(answer(evidence=["warming is  a HOAX", "an invention of the critic"]), item())
    assert said.evidence == ("warming is  a HOAX",)


def test_evidence_seen_in_an_image_is_kept() -> None:
    made = item()
    made.content.parts.add(media=Media(mime_type="image/png", inline=b"x"))
    assert strategy().read(answer(evidence=["a melting glacier"]), made).evidence == ("a melting glacier",)


@pytest.mark.parametrize(
    "fields",
    [
        {"error_probability": 1.5},
        {"error_probability": "very likely"},
        {"error_probability": None},
        {"error_probability": True},
        {"suggested_label": "sideways"},
        {"suggested_label": ["agrees"]},
        {"reason": {"a": 1}},
        {"evidence": "a quote"},
    ],
)
def test_answers_outside_the_schema_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        strategy().read(answer(**fields), item())

"""One item can be followed through a stage, into the dead letters and out of them again."""

from structlog.testing import capture_logs

from actlabel.core import topics
from actlabel.core.errors import DeadLetter
from actlabel.runtime.tracing import name_item, root_headers, trace_id_of
from actlabel.stream.port import Record
from tests.unit.stream.bed import Bed, Handler, until

_OTHERS = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)


def _records(bed: Bed, kind: str, uid: str) -> dict[str, Record]:
    return {record.key.decode(): record for record in bed.stream.records(topics.topic(kind, uid))}


async def test_what_a_stage_produces_and_puts_aside_carries_the_trace_of_its_item(bed: Bed):
    campaign = await bed.campaign()
    sent = {item_id: root_headers(campaign.uid, item_id.encode(), _OTHERS) for item_id in ("good", "bad")}
    topic = topics.topic(topics.ITEMS, campaign.uid)
    for item_id, headers in sent.items():
        await bed.stream.producer().send(topic, key=item_id.encode(), value=bed.item(campaign, item_id), headers=headers)
    await bed.send(campaign, ["without"])
    handler = Handler()
    handler.failing["bad"] = DeadLetter("test", "as the test wants it")
    async with bed.running(handler):
        await until(lambda: bed.at_rest(campaign))
    out, dead = _records(bed, topics.ANNOTATED, campaign.uid), _records(bed, topics.DEAD, campaign.uid)
    assert out["good"].headers == sent["good"]
    assert dead["bad"].headers == sent["bad"]
    assert out["without"].headers == root_headers(campaign.uid, b"without")
    (letter,) = await bed.dead.list(campaign.uid)
    assert (await bed.dead.show(letter)).headers == sent["bad"]
    await bed.dead.replay(campaign.uid)
    again = [record for record in bed.stream.records(topic) if record.key == b"bad"]
    assert [record.headers for record in again] == [sent["bad"]] * 2


async def test_log_lines_of_a_handler_name_its_item(bed: Bed):
    campaign = await bed.campaign()
    await bed.send(campaign, ["a", "b"])
    handler = Handler()
    handler.failing = {"a": ZeroDivisionError("a defect")}
    with capture_logs(processors=[name_item]) as lines:
        async with bed.running(handler):
            await until(lambda: bed.at_rest(campaign))
    (line,) = [line for line in lines if "a handler failed" in line["event"]]
    assert (line["item_id"], line["trace_id"]) == ("a", trace_id_of(campaign.uid, "a"))

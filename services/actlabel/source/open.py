"""What a source stands on, opened: its decoder, its register, and the Kafka that it is in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actlabel.host.host import Host
from actlabel.intake.decoders import open_decoder
from actlabel.runtime.campaign_streams import Source
from actlabel.runtime.campaigns import Campaign
from actlabel.source.reading import SourceReader
from actlabel.source.take import TakeSource
from actlabel.stream.kafka_stream import open_kafka_stream
from actlabel.stream.port import Stream


@asynccontextmanager
async def open_taker(host: Host, campaign: Campaign, source: Source) -> AsyncIterator[TakeSource]:
    """Open what takes the records of a source into its campaign. Raises ``UserError`` for files that cannot be used."""
    register = host.register(campaign)
    letters = host.dead_letters()
    async with open_decoder(source) as decoder:
        yield TakeSource(campaign=campaign, reader=SourceReader(decoder, source.fields), register=register, dead_letters=letters)


@asynccontextmanager
async def open_source_stream(host: Host, source: Source) -> AsyncIterator[Stream]:
    """Open the stream that the topic is in: ours, or another Kafka. Raises ``UserError`` when no broker is there."""
    if source.servers is None:
        yield host.stream
        return
    stream = await open_kafka_stream(source.servers, session_timeout_s=host.settings.session_timeout_s, where="source.servers")
    try:
        yield stream
    finally:
        await stream.close()

"""A campaign that asks for a mirror has its topic, compacted; deleted, it leaves nothing behind."""

from pathlib import Path

from actlabel.core import topics
from actlabel.host.campaign_life import apply_campaign, delete_campaign
from actlabel.host.host import Host, open_host
from actlabel.runtime.campaign_file import parse_campaign
from actlabel.runtime.settings import Settings
from tests.unit.runtime.test_campaign_file import MINIMAL


def settings(folder: Path) -> Settings:
    return Settings(stream=f"sqlite:///{folder}/s.db", database=f"sqlite:///{folder}/a.db", storage=str(folder / "storage"))


async def names(host: Host) -> set[str]:
    return set(await host.stream.topics(""))


async def test_the_topic_comes_with_the_wish_and_goes_with_the_campaign(tmp_path: Path) -> None:
    async with open_host(settings(tmp_path), runs_stages=False) as host:
        plain = await apply_campaign(host, parse_campaign(MINIMAL, where="m"))
        mirror = topics.topic(topics.MERGED_JSON, plain.uid)
        assert mirror not in await names(host)
        await apply_campaign(host, parse_campaign(MINIMAL + "mirror: {}\n", where="m"))
        assert mirror in await names(host)
        group = topics.campaign_group(topics.MIRROR, plain.uid)
        assert set((await host.stream.committed(group, topics.topic(topics.MERGED, plain.uid))).values()) == {0}, "its lag can be seen"
        await host.database.execute("INSERT INTO mirrored VALUES ($1, $2, 1, 0, 1)", plain.uid, "a")
        await apply_campaign(host, parse_campaign(MINIMAL, where="m"))  # no longer wished for
        assert mirror in await names(host), "what was written stays until the campaign goes"
        await delete_campaign(host, plain.name)
        assert await names(host) == set()
        assert (await host.database.fetch("SELECT COUNT(*) AS n FROM mirrored"))[0]["n"] == 0

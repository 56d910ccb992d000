"""The demo's digits through separate processes on Kafka and PostgreSQL, then a training run, watched by Prometheus; run by hand.

    python -m tests.acceptance.observed_demo [images]

Says for every dashboard how many of its queries returned data, and names the others. The transcript is in deploy/prometheus/README.md.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from actlabel.core import topics
from actlabel.demo.campaign import campaign_page, write_campaign
from actlabel.demo.digits import read_digits, split, true_labels, write_by_label, write_images
from actlabel.demo.labelling import take
from actlabel.demo.models import served
from actlabel.demo.run import AUDIT_SHARE, NAME
from actlabel.host.campaign_life import apply_campaign
from actlabel.runtime.settings import Settings
from tests.acceptance.data import Recording
from tests.acceptance.fleet import eventually
from tests.acceptance.pipeline import System, make_settings, system, working
from tests.services.dashboard_queries import ALERTS, dashboard_queries, dashboards, filled_in
from tests.services.kafka_broker import KafkaBroker
from tests.services.postgres_server import PostgresServer
from tests.services.processes import free_port
from tests.services.prometheus_server import PrometheusServer

INTERVAL_S = 1.0


def main(images: int) -> None:
    """Start everything, run, say what was seen, and end everything."""
    with tempfile.TemporaryDirectory(prefix="actlabel-") as name:
        folder = Path(name)
        for part in ("kafka", "postgres", "prometheus", "run"):
            (folder / part).mkdir()
        kafka, postgres = KafkaBroker(folder / "kafka"), PostgresServer(folder / "postgres")
        prometheus = PrometheusServer(folder / "prometheus", rules=ALERTS, interval_s=INTERVAL_S)
        try:
            for service in (kafka, postgres, prometheus):
                service.start()
            settings = make_settings(folder / "run", stream=f"kafka://{kafka.address}", database=postgres.create_database())
            asyncio.run(_watch(folder / "run", settings, prometheus, images))
        finally:
            prometheus.stop()
            kafka.kill()
            postgres.stop()


async def _watch(folder: Path, settings: Settings, prometheus: PrometheusServer, images: int) -> None:
    digits = read_digits()
    splits = split(digits.labels, seed=0, items=images)
    write_images(folder / "images", digits, splits.campaign)
    write_by_label(folder / "test-images", digits, splits.test)
    begun_s = time.time()
    with served(splits) as endpoint:
        page = campaign_page(name=NAME, endpoint=endpoint, budget="20%", audit_share=AUDIT_SHARE, seed=0)
        async with system(folder, settings) as arena:
            members = [arena.fleet.start(role) for role in (*topics.READS, topics.SOURCE, topics.MIRROR)]
            train_port = free_port()
            prometheus.scrape({"train": train_port} | {member.name: member.http_port for member in members})
            await asyncio.gather(*(member.ready() for member in members))
            campaign = await apply_campaign(arena.host, write_campaign(folder / "campaign.yaml", page))
            await eventually(lambda: _seen(prometheus, campaign.uid), what="the campaign seen")
            await take(arena.host, campaign, folder / "images")
            truth = dict(true_labels(digits, splits.campaign))
            reviewer = arena.reviewer(Recording(items=folder, answers=folder, truth=truth, model={}), campaign.name)
            reviewer._think_s = 0.05
            async with working(reviewer):
                await arena.at_rest(campaign, reviewed=True)
            merged = await arena.merged(campaign)
            print(f"{len(merged)} images merged, {len(reviewer.acknowledged)} of them reviewed, after {time.time() - begun_s:.0f} s")
            await asyncio.to_thread(_train, folder, arena, train_port)
            await asyncio.to_thread(_say, prometheus, begun_s)


async def _seen(prometheus: PrometheusServer, uid: str) -> bool:
    return bool(await asyncio.to_thread(prometheus.now, f'actlabel_campaign_info{{campaign="{uid}"}}'))


def _train(folder: Path, arena: System, port: int) -> None:
    environment = {**arena.fleet.members[0].environment, "ACTLABEL_HTTP_PORT": str(port)}
    words = ["train", NAME, "--out", "training", "--loss", "act", "--loss", "merged-ce", "--test", "test-images"]
    done = subprocess.run(
        [sys.executable, "-m", "actlabel", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)


def _say(prometheus: PrometheusServer, begun_s: float) -> None:
    for name in dashboards():
        found = {query: _series(prometheus, query.expr, begun_s) for query in dashboard_queries(name)}
        empty = sorted({query.where.partition(": ")[2] for query, series in found.items() if not series})
        print(f"{name}: {sum(map(bool, found.values()))} of {len(found)} queries return data, {sum(found.values())} series")
        print(*(f"    nothing: {title}" for title in empty), sep="\n" if empty else "", end="\n" if empty else "")


def _series(prometheus: PrometheusServer, expr: str, begun_s: float) -> int:
    """Count the series that ever had a number."""
    series = prometheus.over(filled_in(expr, rate="10s"), begun_s, time.time(), INTERVAL_S)
    return sum(any(value != "NaN" for _, value in one["values"]) for one in series)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1217)

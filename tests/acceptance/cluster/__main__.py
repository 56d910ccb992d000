"""A real control plane by hand: ``python -m tests.acceptance.cluster build``, then ``… run``; README.md says what it shows."""

import argparse
import asyncio
import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.acceptance.cluster.control_plane import ControlPlane
from tests.acceptance.cluster.crds import crd_folder
from tests.acceptance.cluster.go_programs import build_all
from tests.acceptance.cluster.keda import start_keda
from tests.acceptance.cluster.local_overlay import LocalOverlay, Times
from tests.acceptance.cluster.one_stage import scale_one_stage
from tests.acceptance.cluster.overlays import apply, apply_every_overlay, refuses_what_breaks_the_rules, render
from tests.acceptance.cluster.timeline import Timeline
from tests.acceptance.cluster.whole_system import WholeSystem
from tests.acceptance.pipeline import make_settings, system
from tests.services.postgres_server import PostgresServer
from tests.services.processes import CannotStartError
from tests.services.secured_kafka import SecuredKafka


def main() -> int:
    """Do what the arguments say; the exit code says whether everything was as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["build", "run"])
    parser.add_argument("--items", type=int, default=20_000, help="of the campaign that goes through the whole system")
    parser.add_argument("--only", choices=["overlays", "one-stage", "whole-system"], help="one part of it")
    parser.add_argument("--folder", help="for data and logs, empty; kept")
    chosen = parser.parse_args()
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # nothing forks here without an exec
    for client in ("aiokafka", "asyncpg"):
        logging.getLogger(client).setLevel(logging.CRITICAL)
    try:
        build_all()
        crd_folder()
        if chosen.what == "run":
            run(Path(chosen.folder or tempfile.mkdtemp(prefix="actlabel-cluster-")), chosen.only, chosen.items)
    except CannotStartError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def run(folder: Path, only: str | None, items: int) -> None:
    """Go through every part, on one control plane."""
    folder.mkdir(parents=True, exist_ok=True)
    timeline = Timeline()
    print(f"data and logs: {folder}", flush=True)
    with _control_plane(folder, timeline) as plane:
        if only in (None, "overlays"):
            refuses_what_breaks_the_rules(plane, timeline)
            apply_every_overlay(plane, timeline)
        if only != "overlays":
            start_keda(plane)
            timeline.note("KEDA answers")
            with _services() as (kafka, postgres):
                asyncio.run(_on_services(plane, folder, timeline, only, items, kafka, postgres))
    print("all of it was as it should be", flush=True)


@contextlib.contextmanager
def _control_plane(folder: Path, timeline: Timeline) -> Iterator[ControlPlane]:
    plane = ControlPlane(folder / "plane", timeline)
    try:
        plane.start()
        plane.kubectl("apply", "--server-side", "-f", str(crd_folder()))
        timeline.note("the CRDs of KEDA, Strimzi, CloudNativePG, KubeRay, the Gateway API and the Prometheus operator are installed")
        yield plane
    finally:
        plane.close()


@contextlib.contextmanager
def _services() -> Iterator[tuple[SecuredKafka, PostgresServer]]:
    with tempfile.TemporaryDirectory(prefix="actlabel-") as for_kafka, tempfile.TemporaryDirectory(prefix="actlabel-") as for_postgres:
        kafka, postgres = SecuredKafka(Path(for_kafka)), PostgresServer(Path(for_postgres))
        kafka.start()
        postgres.start()
        try:
            yield kafka, postgres
        finally:
            kafka.kill()
            postgres.stop()


async def _on_services(
    plane: ControlPlane, folder: Path, timeline: Timeline, only: str | None, items: int, kafka: SecuredKafka, postgres: PostgresServer
) -> None:
    work = folder / "work"
    work.mkdir()
    settings = make_settings(work, stream=kafka.scram(), database=postgres.create_database())
    token = (settings.review_token_file or Path()).read_text()
    overlay = LocalOverlay(
        folder / "overlay", kafka, database=settings.database, storage=Path(settings.storage), token=token, times=Times()
    )
    async with system(work, settings) as arena:
        manifests = render(overlay.write("actlabel:one"))
        plane.kubectl("apply", "--server-side", "-f", "k8s/base/namespace.yaml")
        plane.kubectl("apply", "--server-side", "-f", "-", text=overlay.secrets())
        timeline.note(f"the overlay external with the addresses of this machine: {apply(plane, manifests)} objects applied")
        if only in (None, "one-stage"):
            await scale_one_stage(plane, arena, work, timeline)
        if only in (None, "whole-system"):
            await WholeSystem(plane, arena, overlay, work, timeline).run(items)


if __name__ == "__main__":
    sys.exit(main())

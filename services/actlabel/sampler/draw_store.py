"""Draws in the database: rows in, rows out. What is stored once stays as it is."""

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from actlabel.contracts.v1.item_pb2 import Decision
from actlabel.core.designs import KeptCells
from actlabel.core.packed_ids import PackedIds
from actlabel.runtime.database.port import Database, Row, Session, load_statements
from actlabel.sampler.domain import Drawn, DrawRow, Parameters, Population

_CHUNK: Final = 5_000
_PAGE: Final = 10_000


class Place(NamedTuple):
    """Where decisions belong."""

    uid: str
    draw: int
    block: int = 0  # 0 in exact mode


class DrawStore:
    """Statements on draws, cells, decisions and the budget row. A ``session`` argument says that the caller holds a transaction."""

    def __init__(self, database: Database) -> None:
        """Keep the database; nothing is read yet."""
        self.database = database
        self.sql = load_statements("actlabel.sampler")

    async def draws(self, session: Session, uid: str) -> list[DrawRow]:
        """Return the draws of a campaign, oldest first."""
        return [_draw(row) for row in await session.fetch(self.sql["draws"], uid)]

    async def lock_budget(self, session: Session, uid: str, mode: str) -> Row:
        """Hold the campaign's budget row until the transaction ends; made when missing."""
        await session.execute(self.sql["open_budget"], uid, mode)
        return (await session.fetch(self.sql["lock_budget"], uid))[0]

    async def count(self, session: Session, statement: str, uid: str, batch: int) -> int:
        """Run one of the statements that count items of a batch."""
        return int((await session.fetch(self.sql[statement], uid, batch))[0]["items"])

    async def is_complete_batch(self, session: Session, uid: str, batch: int, sealed_items: int) -> bool:
        """Say whether every item of a sealed batch was critiqued or put aside, in its newest revision."""
        arrived = await self.count(session, "candidates_of_batch", uid, batch)
        if arrived < sealed_items:
            arrived += await self.count(session, "dead_of_batch", uid, batch)
        return arrived >= sealed_items and not await self.count(session, "outdated_of_batch", uid, batch)

    async def population(self, uid: str, batch: int) -> Population:
        """Load a batch, a page at a time, in the database's order of ids."""
        ids = PackedIds()
        pages: list[str] = []
        epsilons: list[NDArray[np.int64]] = []
        while rows := await self.database.fetch(self.sql["population"], uid, batch, pages[-1] if pages else "", _PAGE):
            ids.extend(row["item_id"] for row in rows)
            epsilons.append(np.fromiter((row["epsilon_q16"] for row in rows), dtype=np.int64, count=len(rows)))
            pages.append(str(rows[-1]["item_id"]))
        epsilon_q16 = np.concatenate(epsilons) if epsilons else np.empty(0, dtype=np.int64)
        return Population(ids=ids, epsilon_q16=epsilon_q16, pages=pages)

    async def put_manifest(self, uid: str, draw: int, manifest: str) -> str:
        """Store a manifest, first write wins; return the one that is stored."""
        await self.database.execute(self.sql["put_manifest"], uid, draw, manifest)
        return str((await self.database.fetch(self.sql["manifest"], uid, draw))[0]["manifest"])

    async def put_cells(self, session: Session, place: Place, manifest: str) -> None:
        """Store the cells of a manifest as rows."""
        cells = json.loads(manifest)["cells"]
        rows = [
            (*place, lowest, highest, cell, size, selected, number, item_id)
            for cell, (lowest, highest, size, selected, number, item_id) in enumerate(cells)
        ]
        await session.execute_many(self.sql["put_cell"], rows)

    async def put_decisions(self, session: Session, place: Place, drawn: Drawn, *, of: NDArray[np.int64]) -> None:
        """Store the decisions of the items numbered ``of`` (k,), in chunks, first write wins."""
        design, population = drawn.design, drawn.population
        for start in range(0, len(of), _CHUNK):
            part = of[start : start + _CHUNK]
            cell = design.cell[part]
            columns = (cell, design.selected[cell], design.size[cell], population.epsilon_q16[part], drawn.chosen[part])
            values = zip(part.tolist(), *(column.tolist() for column in columns), strict=True)
            rows = [(*place, population.ids[item], *rest) for item, *rest in values]
            await session.execute_many(self.sql["put_decision"], rows)

    async def put_unselected(self, uid: str, draw: int, batch: int, pages: Sequence[str]) -> None:
        """Store the decisions of everything of a batch that is not selected; the database finds the cell of each item by itself."""
        for after, until in zip(["", *pages[:-1]], pages, strict=True):
            await self.database.execute(self.sql["put_unselected"], uid, draw, batch, after, until)

    async def kept_cells(self, uid: str, draw: int) -> KeptCells:
        """Return the cells of an exact draw, as a raise of its budget needs them."""
        rows = await self.database.fetch(self.sql["kept_cells"], uid, draw)
        return KeptCells(
            lowest=np.array([row["lowest"] for row in rows], dtype=np.int64),
            selected=np.array([row["selected"] for row in rows], dtype=np.int64),
        )

    async def decisions(self, uid: str, draw: int, ids: Sequence[str]) -> Mapping[str, Row]:
        """Look decisions of an exact draw up."""
        rows = await self.database.fetch(self.sql["exact_decisions"], uid, draw, list(ids))
        return {row["item_id"]: row for row in rows}


def _draw(row: Row) -> DrawRow:
    return DrawRow(
        draw=row["draw"],
        batch=row["batch"],
        mode=row["mode"],
        budget=row["budget"],
        selected=row["selected"],
        population=row["population"],
        raises=row["raises"],
        parameters=Parameters.from_json(row["parameters"]),
        complete=bool(row["complete"]),
    )


def to_decision(row: Row) -> Decision:
    """Translate a stored decision for the wire."""
    return Decision(
        draw=row["draw"],
        rule=row["rule"],
        epsilon_q16=row["epsilon_q16"],
        cell=row["cell"],
        cell_selected=row["cell_selected"],
        cell_size=row["cell_size"],
        selected=bool(row["selected"]),
        calibration_version=row["calibration_version"],
        block=row["block"],
    )

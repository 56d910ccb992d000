"""Campaigns as the database holds them: immutable versions, and a status that changes."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from actlabel.core import topics
from actlabel.core.errors import DeadLetter, UserError
from actlabel.runtime.campaign_file import CampaignFile
from actlabel.runtime.clock import Clock
from actlabel.runtime.database.port import Database, Row, load_statements

EVERY_STAGE = "*"


class Dedication(StrEnum):
    """Who reads a campaign at a stage, where it is not the stage that all share."""

    LEAVING = "leaving"  # nobody: the shared group lets go
    OWN = "own"  # a group of its own
    RETURNING = "returning"  # nobody: its own group lets go


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """One version of one campaign, as stages use it."""

    uid: str
    name: str
    version: int
    partitions: int  # of each of its topics
    file: CampaignFile


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignStatus:
    """What changes while a campaign lives."""

    uid: str
    name: str
    version: int  # the newest
    batch: int  # that new items join
    seals: Mapping[int, int]  # batch → number of distinct items
    pauses: Mapping[str, str]  # stage or '*' → reason


class Campaigns:
    """Reads through to the database; versions are cached for ever, since they never change."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep the database; nothing is read yet."""
        self._database = database
        self._clock = clock
        self._sql = load_statements("actlabel.runtime", "campaigns.sql")
        self._versions: dict[tuple[str, int], Campaign] = {}

    async def apply(self, file: CampaignFile) -> Campaign:
        """Store a document: a new campaign, a new version of one, or no change where it equals the newest. Lifts every pause.

        Raises ``UserError`` when the partition count differs from the first version's.
        """
        existing = await self._row_by_name(file.name)
        if existing is None:
            return await self._insert(file)
        if existing["partitions"] != file.partitions:
            raise UserError(
                f"{file.name}: partitions: is {existing['partitions']} since the first apply and cannot become {file.partitions}; "
                "delete the campaign to change it"
            )
        newest = await self._newest(existing)
        applied = newest if newest.file == file else await self._insert_version(existing, newest.version + 1, file)
        await self.resume(applied.uid)  # only now, so that who pauses can see afterwards whether its reason still holds
        return applied

    async def _insert(self, file: CampaignFile) -> Campaign:
        uid = secrets.token_hex(6)
        now = self._clock.now()
        async with self._database.transaction() as session:
            await session.execute(self._sql["insert"], uid, file.name, file.partitions, now)
            await session.execute(self._sql["insert_version"], uid, 1, file.canonical_json(), now)
        return Campaign(uid=uid, name=file.name, version=1, partitions=file.partitions, file=file)

    async def _insert_version(self, row: Row, version: int, file: CampaignFile) -> Campaign:
        await self._database.execute(self._sql["insert_version"], row["uid"], version, file.canonical_json(), self._clock.now())
        return Campaign(uid=row["uid"], name=row["name"], version=version, partitions=row["partitions"], file=file)

    async def get(self, uid: str, version: int) -> Campaign:
        """Return a version; raises ``DeadLetter('unknown-campaign', …)`` when there is none."""
        cached = self._versions.get((uid, version))
        return cached if cached is not None else await self._read(uid, version)

    async def _read(self, uid: str, version: int) -> Campaign:
        rows = await self._database.fetch(self._sql["by_uid"], uid)
        documents = await self._database.fetch(self._sql["version"], uid, version)
        if not rows or not documents:
            raise DeadLetter("unknown-campaign", f"campaign {uid} version {version} is not in the database")
        self._versions[uid, version] = campaign = _campaign(rows[0], version, documents[0]["document"])
        return campaign

    async def newest(self, name: str) -> Campaign:
        """Return the newest version by name; raises ``UserError`` when there is no such campaign."""
        row = await self._row_by_name(name)
        if row is None:
            raise UserError(f"campaign {name!r} does not exist; `actlabel campaign list` names those that do")
        return await self._newest(row)

    async def _newest(self, row: Row) -> Campaign:
        versions = await self._database.fetch(self._sql["newest_version"], row["uid"])
        return _campaign(row, versions[0]["version"], versions[0]["document"])

    async def _row_by_name(self, name: str) -> Row | None:
        rows = await self._database.fetch(self._sql["by_name"], name)
        return rows[0] if rows else None

    async def list(self) -> Sequence[Campaign]:
        """Return the newest version of every campaign, oldest campaign first."""
        return [await self._newest(row) for row in await self._database.fetch(self._sql["all"])]

    async def status(self, uid: str) -> CampaignStatus:
        """Return what changes; raises ``UserError`` for an unknown uid."""
        rows = await self._database.fetch(self._sql["by_uid"], uid)
        if not rows:
            raise UserError(f"campaign {uid} does not exist")
        newest = await self._newest(rows[0])
        seals = await self._database.fetch(self._sql["seals"], uid)
        pauses = await self.pauses()
        return CampaignStatus(
            uid=uid,
            name=newest.name,
            version=newest.version,
            batch=rows[0]["batch"],
            seals={row["batch"]: row["items"] for row in seals},
            pauses={stage: reason for (paused, stage), reason in pauses.items() if paused == uid},
        )

    async def delete(self, uid: str) -> None:
        """Mark a campaign deleted; its name may come back with a new uid."""
        await self._database.execute(self._sql["mark_deleted"], uid)

    async def known(self) -> frozenset[str]:
        """Return the uids of campaigns that are not deleted."""
        return frozenset(await self.names())

    async def names(self) -> Mapping[str, str]:
        """Return the name of every campaign by its uid, without reading its document."""
        return {row["uid"]: row["name"] for row in await self._database.fetch(self._sql["all"])}

    async def deleted(self) -> frozenset[str]:
        """Return the uids of deleted campaigns, whose records stages drop."""
        return frozenset(row["uid"] for row in await self._database.fetch(self._sql["deleted"]))

    async def pause(self, uid: str, stage: str, reason: str) -> None:
        """Stop a campaign at a stage (or ``EVERY_STAGE``) until `campaign apply` or `campaign resume`; the first reason stays."""
        await self._database.execute(self._sql["pause"], uid, stage, reason, self._clock.now())

    async def resume(self, uid: str) -> None:
        """Lift every pause of a campaign."""
        await self._database.execute(self._sql["resume"], uid)

    async def lift(self, uid: str, stage: str, reason: str) -> None:
        """Lift one pause, if it is there for this very reason."""
        await self._database.execute(self._sql["lift"], uid, stage, reason)

    async def pauses(self) -> Mapping[tuple[str, str], str]:
        """Return every pause: (uid, stage) → reason."""
        return {(row["uid"], row["stage"]): row["reason"] for row in await self._database.fetch(self._sql["pauses"])}

    async def dedicated(self, stage: str) -> Mapping[str, Dedication]:
        """Return the campaigns (uids) that do not share this stage with the others."""
        return {row["uid"]: Dedication(row["state"]) for row in await self._database.fetch(self._sql["dedicated"], stage)}

    async def dedicate(self, uid: str, stage: str, state: Dedication | None) -> None:
        """Say who reads a campaign at a stage; None: the stage that all share. `host/dedicate.py` knows when."""
        if state is None:
            await self._database.execute(self._sql["share"], uid, stage)
        else:
            await self._database.execute(self._sql["dedicate"], uid, stage, state.value)

    async def group(self, uid: str, stage: str) -> str:
        """Name the consumer group whose offsets say how far a campaign is at a stage."""
        state = (await self.dedicated(stage)).get(uid)
        return topics.campaign_group(stage, uid) if state in (Dedication.OWN, Dedication.RETURNING) else topics.group(stage)

    async def seal(self, uid: str) -> int:
        """Say that no more items come to the present batch; returns how many it has.

        Raises ``UserError`` when it is empty, or holds items of an ingest that did not finish.
        """
        async with self._database.transaction() as session:
            row = (await session.fetch(self._sql["by_uid_locked"], uid))[0]
            unfinished = (await session.fetch(self._sql["unproduced"], uid))[0]["items"]
            items = int((await session.fetch(self._sql["batch_size"], uid, row["batch"]))[0]["items"])
            if unfinished:
                raise UserError(
                    f"{row['name']}: {unfinished} items of an interrupted ingest are not in the stream; "
                    "ingest the same file again, then seal"
                )
            late = (await session.fetch(self._sql["late_candidates"], uid, row["batch"]))[0]["items"]
            if not items and not late:
                raise UserError(f"{row['name']}: batch {row['batch']} has no items; there is nothing to seal")
            await session.execute(self._sql["insert_seal"], uid, row["batch"], items, self._clock.now())
            await session.execute(self._sql["next_batch"], uid)
        return items

    async def secret_key(self, campaign: Campaign, deployment_key: bytes | None) -> bytes:
        """Derive the 32-byte key of a campaign's random numbers from the deployment's key, its name and its seed (HMAC-SHA256, RFC 2104).

        The same key, name and seed give the same numbers anywhere; nobody who lacks the key can choose an item id that evades review.
        """
        root = deployment_key or await self._own_key()
        return hmac.digest(root, json.dumps([campaign.name, campaign.file.seed]).encode(), hashlib.sha256)

    async def _own_key(self) -> bytes:
        await self._database.execute(self._sql["put_deployment_value"], "secret_key", secrets.token_bytes(32))
        return bytes((await self._database.fetch(self._sql["deployment_value"], "secret_key"))[0]["value"])


def _campaign(row: Row, version: int, document: str) -> Campaign:
    file = CampaignFile.model_validate_json(document)
    return Campaign(uid=row["uid"], name=row["name"], version=version, partitions=row["partitions"], file=file)

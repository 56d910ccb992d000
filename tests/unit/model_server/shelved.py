"""Small real models in a real registry, and the server on a free port."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import torch

from actlabel.classifiers.choose import BUILT_IN
from actlabel.model_registry.files import put_model
from actlabel.model_registry.registry import ModelVersion, NewModel, Registry
from actlabel.model_server.main import run
from actlabel.runtime.clock import SystemClock
from actlabel.runtime.database.open import open_database
from actlabel.runtime.database.port import Database
from actlabel.runtime.health import Health
from actlabel.runtime.settings import Settings
from actlabel.runtime.storage import Storage

LABELS = ("agrees", "disagrees", "neutral")


def write_model(folder: Path, *, kind: str = "ngrams", labels: tuple[str, ...] = LABELS, seed: int = 0, scale: float = 1.0) -> Path:
    """Write what training leaves, with random weights."""
    chosen = BUILT_IN[kind]()
    torch.manual_seed(seed)
    model = chosen.build(labels)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * scale)
    folder.mkdir(parents=True)
    chosen.save(model, folder)
    (folder / "labels.json").write_text(json.dumps(labels))
    (folder / "model_card.json").write_text(json.dumps({"model": chosen.describe()}))
    return folder


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where models are registered."""

    settings: Settings
    database: Database

    @property
    def registry(self) -> Registry:
        """The registry that the server reads."""
        return Registry(self.database, SystemClock())

    async def register(self, name: str, **model: Any) -> ModelVersion:
        """Write, store and register a model."""
        with tempfile.TemporaryDirectory() as folder:
            files = put_model(Storage(self.settings.storage), write_model(Path(folder) / "model", **model))
        facts = {"model": {"kind": model.get("kind", "ngrams")}}
        return await self.registry.register(NewModel(name=name, campaign_uid="0f0f", answers=0, files=files, facts=facts))


@asynccontextmanager
async def place(folder: Path, **changes: Any) -> AsyncIterator[Place]:
    """Open database and storage in a folder."""
    settings = Settings(
        database=f"sqlite:///{folder}/actlabel.db", storage=str(folder / "storage"), **{"model_port": 0, "drain_deadline_s": 5.0, **changes}
    )
    database = await open_database(settings.database)
    try:
        yield Place(settings=settings, database=database)
    finally:
        await database.close()


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running model server and a way to ask it."""

    endpoint: str
    health: Health
    session: aiohttp.ClientSession

    async def post(self, body: Any, **options: Any) -> tuple[int, Any]:
        """Send a body as it is (bytes) or as JSON; returns status and document."""
        sent = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self.session.post(f"{self.endpoint}/chat/completions", **sent, **options) as response:
            return response.status, await response.json()


@asynccontextmanager
async def serving(where: Place) -> AsyncIterator[Server]:
    """Run the server while the block runs."""
    stop, health, told = asyncio.Event(), Health(), asyncio.get_running_loop().create_future()
    work = asyncio.create_task(
        run(settings=where.settings, database=where.database, clock=SystemClock(), health=health, stop=stop, started=told.set_result)
    )
    await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        await work
    try:
        async with aiohttp.ClientSession() as session:
            yield Server(endpoint=told.result(), health=health, session=session)
    finally:
        stop.set()
        await work


def question(
    text: str = "The sea is rising.", *, model: str = "stance", judged: str | None = None, labels: Any = LABELS, image: str = ""
) -> Any:
    """A request as the annotator sends it, or the criticizer where a label is judged."""
    parts: list[Any] = [{"type": "text", "text": "<<item 0f>>"}, {"type": "text", "text": text}]
    if image:
        parts[1:] = [{"type": "image_url", "image_url": {"url": image}}]
    parts.append({"type": "text", "text": "<<end of item 0f>>"})
    properties: dict[str, Any] = {"label": {"type": "string", "enum": list(labels)}}
    if judged is not None:
        parts.append({"type": "text", "text": f"Label under review: {judged}"})
        properties = {
            "error_probability": {"type": "number", "minimum": 0, "maximum": 1},
            "suggested_label": {"type": "string", "enum": list(labels)},
            "reason": {"type": "string"},
            "evidence": {"type": "array", "items": {"type": "string"}},
        }
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {
        "model": model,
        "messages": [{"role": "system", "content": "You label."}, {"role": "user", "content": parts}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}},
    }


def content(document: Any) -> Any:
    """What the answer says."""
    return json.loads(document["choices"][0]["message"]["content"])

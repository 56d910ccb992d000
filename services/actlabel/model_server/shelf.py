"""Which models are loaded, and which version a name means now. A newer version is taken up without a restart."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from actlabel.completions.protocol import Refused
from actlabel.core.errors import RetryLater, UserError
from actlabel.model_registry.files import fetch_model
from actlabel.model_registry.registry import Current, ModelVersion, Registry
from actlabel.model_server.batching import Batcher
from actlabel.model_server.ports import Open, Predictor
from actlabel.runtime.log import get_log
from actlabel.runtime.metrics import MODEL_VERSION
from actlabel.runtime.storage import Storage

MOST_LOADED: Final = 4
_log = get_log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A loaded version."""

    model: ModelVersion
    batcher: Batcher


class Shelf:
    """Loads at first use, and in ``look`` what a name in use has come to mean. ``get`` touches the database only for what is not loaded."""

    def __init__(
        self,
        *,
        registry: Registry,
        storage: Storage,
        cache: Path,
        opened: Open,
        batcher: Callable[[Predictor, str], Batcher],
        loader: Executor,
        names: Sequence[str] = (),
    ) -> None:
        """``names``: the only models that are served, loaded by ``look``; without any, whatever is registered is."""
        self._registry = registry
        self._storage = storage
        self._cache = cache
        self._opened = opened
        self._batcher = batcher
        self._loader = loader
        self._names = tuple(names)
        self._current: dict[str, Current] = {}
        self._loaded: OrderedDict[str, Served] = OrderedDict()  # by reference, the latest asked last
        self._loading: dict[str, asyncio.Lock] = {}
        self._broken: dict[str, str] = {}  # reference → why it cannot be loaded; versions never change, so it never can
        self._used: dict[str, str] = {}  # bare name that was asked for → reference that answers for it
        self.trouble: str | None = "the registry was not looked at yet"

    async def look(self) -> None:
        """Learn what every name means now, and load what the names in use have come to mean; until then the old version answers."""
        try:
            self._current = {known.name: known for known in await self._registry.current()}
            for word in dict.fromkeys((*self._names, *self._used)):
                await self._follow(word)
            self.trouble = self._missing()
        except RetryLater as error:
            self.trouble = None if self._loaded else str(error)
            _log.warning("The registry or its storage is out of reach", error=str(error))

    def _missing(self) -> str | None:
        if not self._names:
            return None if self._current else "no model is registered; `actlabel train` registers one"
        absent = [word for word in self._names if self._answering(word) is None]
        return "; ".join(f"{word}: {self._why(word)}" for word in absent) or None

    def _why(self, word: str) -> str:
        return self._broken.get(self._reference(word) or word, "no such model is registered")

    def _reference(self, word: str) -> str | None:
        """Return the exact version that a word means now; None for a name that the last look did not find."""
        if "@" in word:
            return word
        known = self._current.get(word)
        return f"{word}@{known.version}" if known is not None else None

    def _answering(self, word: str) -> Served | None:
        reference = word if "@" in word else self._used.get(word)
        return self._loaded.get(reference) if reference is not None else None

    async def _follow(self, word: str) -> None:
        reference = self._reference(word)
        if reference is None or reference in self._broken or self._used.get(word) == reference:
            return
        try:
            await self._load(reference)
        except UserError as error:
            _log.error("A registered model cannot be loaded; what was served before goes on", model=reference, error=str(error))
            return
        self._switch(word, reference)

    def _switch(self, word: str, reference: str) -> None:
        """Let a bare name be answered by another version; requests in progress end with the one they began with."""
        before, self._used[word] = self._used.get(word), reference
        MODEL_VERSION.labels(model=word.partition("@")[0]).set(int(reference.partition("@")[2]))
        if before is not None and before != reference:
            if before not in (*self._names, *self._used.values()):
                self._loaded.pop(before, None)
            _log.info("A model was switched to another version without a restart", model=word, before=before, now=reference)

    async def get(self, word: str) -> Served:
        """Return what answers for ``name`` or ``name@version``.

        Raises ``Refused``: 404 for what is not registered, not served here or cannot be loaded, 503 while registry or storage are away.
        """
        served = self._answering(word)
        if served is None:
            served = await self._fetched(word)
        if served.model.reference in self._loaded:
            self._loaded.move_to_end(served.model.reference)
        return served

    async def _fetched(self, word: str) -> Served:
        if self._names and word not in self._names:
            raise Refused(404, "model_not_found", f"model {word[:100]!r} is not served here; there is {', '.join(self._names)}")
        try:
            model = await self._registry.find(word)
            served = await self._load(model.reference)
        except UserError as error:
            raise Refused(404, "model_not_found", str(error)) from error
        except RetryLater as error:
            raise Refused(503, "unavailable", "registry or storage are out of reach for now; the same request may succeed soon") from error
        self._switch(word, model.reference)
        return served

    async def _load(self, reference: str) -> Served:
        """Load a version once, however many ask. Raises ``UserError`` and ``RetryLater``."""
        if reference in self._broken:
            raise UserError(f"model {reference} cannot be loaded: {self._broken[reference]}")
        async with self._loading.setdefault(reference, asyncio.Lock()):
            if (loaded := self._loaded.get(reference)) is not None:
                return loaded
            model = await self._registry.find(reference)
            try:
                predictor = await asyncio.get_running_loop().run_in_executor(self._loader, self._open, model)
            except UserError as error:
                self._broken[reference] = str(error)
                raise
            self._loaded[reference] = served = Served(model=model, batcher=self._batcher(predictor, model.name))
            self._make_room()
            _log.info("A model was loaded", model=reference, kind=str(model.document["model"]["kind"]))
        return served

    def _open(self, model: ModelVersion) -> Predictor:
        return self._opened(fetch_model(self._storage, model, self._cache))

    def _make_room(self) -> None:
        while len(self._loaded) > max(MOST_LOADED, len(self._names)):
            gone, _ = self._loaded.popitem(last=False)
            self._loading.pop(gone, None)
            self._used = {word: reference for word, reference in self._used.items() if reference != gone}

    def listed(self) -> Mapping[str, int]:
        """Return the models that may be asked for by name, with the version that each means."""
        known = self._names or tuple(self._current)
        references = {word: self._reference(word) for word in known}
        return {word: int(reference.partition("@")[2]) for word, reference in references.items() if reference is not None}

    def stuck(self) -> str | None:
        """Say whether any model has stopped answering."""
        return next((why for served in self._loaded.values() if (why := served.batcher.stuck()) is not None), None)

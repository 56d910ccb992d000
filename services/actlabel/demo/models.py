"""The demo's annotator and critic: two different small models, each on its own few labelled images, in a process of their own.

The annotator is naive Bayes on 100 images, right about 83 times in 100; the critic is logistic regression on 120 other images and says
how probable it finds the annotator's label. They are served over HTTP, so that the pipeline talks to them as to a hosted model.
"""

import asyncio
import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Final
from urllib.parse import urlsplit

from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from actlabel.completions.protocol import Question
from actlabel.core.errors import Fatal
from actlabel.demo.digits import Digits, Splits, from_png, read_digits
from actlabel.standin.classifier import Classifier, ClassifierAnswers
from actlabel.standin.opinion import ByModel
from actlabel.standin.server import Standin

ANNOTATOR: Final = "digits-naive-bayes"
CRITIC: Final = "digits-logistic-regression"
_PATIENCE_S: Final = 60.0


def fit(digits: Digits, splits: Splits) -> dict[str, Classifier]:
    """Fit both models, by name."""
    annotator: Any = GaussianNB(var_smoothing=1e-2)
    critic: Any = LogisticRegression(C=0.01, max_iter=1000)
    annotator.fit(digits.ink[splits.annotator], digits.labels[splits.annotator])
    critic.fit(digits.ink[splits.critic], digits.labels[splits.critic])
    return {ANNOTATOR: annotator, CRITIC: critic}


def answerers(models: dict[str, Classifier]) -> ByModel:
    """Let each model answer under its name."""
    return ByModel({name: ClassifierAnswers(model, features=_ink) for name, model in models.items()})


def _ink(question: Question) -> Any:
    return from_png(question.image_bytes())


@contextmanager
def served(splits: Splits, *, at: str | None = None) -> Iterator[str]:
    """Serve both models from a process of its own while the block runs; yields the endpoint. Raises ``Fatal`` when it does not start.

    ``at``: ``http://host:port`` at which others reach this machine. None: only this machine, at any free port.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(splits, theirs, None if at is None else urlsplit(at).port or 80), daemon=True, name="actlabel-demo-models"
    )
    process.start()
    theirs.close()
    try:
        endpoint = _endpoint(ours)
        yield endpoint if at is None else f"{at}/v1"
    finally:
        ours.close()  # the sign to end
        process.join(_PATIENCE_S)
        process.kill()
        process.join()


def _endpoint(pipe: Connection) -> str:
    try:
        if pipe.poll(_PATIENCE_S):
            return str(pipe.recv())
    except EOFError:
        pass
    raise Fatal("the process that serves the demo's models did not start; its own message is above")


def _serve(splits: Splits, pipe: Connection, port: int | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pipeline, which still needs answers while it drains
    models = answerers(fit(read_digits(), splits))
    asyncio.run(_until_left_alone(models, pipe, port))


async def _until_left_alone(models: ByModel, pipe: Connection, port: int | None) -> None:
    """Serve until the other end of the pipe is closed, be it because that process was killed."""
    left_alone = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), left_alone.set)
    host = "127.0.0.1" if port is None else "0.0.0.0"  # noqa: S104 - others were promised to reach it
    async with Standin(models, models=tuple(models.answerers), host=host, port=port or 0) as server:
        pipe.send(server.endpoint)
        await left_alone.wait()

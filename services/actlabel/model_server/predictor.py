"""A registered model that can be asked: contents in, probabilities out, many at once. The only file here that needs torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from actlabel.classifiers.content import Content
from actlabel.classifiers.port import Encoded
from actlabel.classifiers.stored import StoredModel, load_model
from actlabel.core.errors import UserError
from actlabel.model_server.ports import Answer


class TorchPredictor:
    """See ``ports.Predictor``."""

    def __init__(self, stored: StoredModel) -> None:
        """Put the model where it computes: on the GPU when there is one."""
        self.labels = stored.labels
        self.reads_images = stored.reads_images
        self._kind = stored.kind
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = stored.model.to(self._device)

    def predict(self, contents: Sequence[Content]) -> Sequence[Answer]:
        """See ``ports.Predictor``."""
        encoded = [self._encoded(content) for content in contents]
        rows = [row for row in encoded if not isinstance(row, UserError)]
        answers = iter(self._forward(rows) if rows else ())
        return [row if isinstance(row, UserError) else next(answers) for row in encoded]

    def _encoded(self, content: Content) -> Encoded | UserError:
        try:
            return self._kind.row(content)
        except UserError as error:
            return error

    def _forward(self, rows: Sequence[Encoded]) -> list[list[float]]:
        """Softmax in float64, so that what is nearly certain is not rounded to certain."""
        threads = self._kind.defaults.threads
        if threads is not None and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        batch = {name: value.to(self._device) for name, value in self._kind.collate(rows).items()}
        with torch.inference_mode():
            logits_BC = self._model(**batch)  # noqa: N806
        chances = torch.softmax(logits_BC.double(), dim=1).cpu().numpy()
        return [[float(chance) for chance in row] for row in np.asarray(chances)]


def open_predictor(folder: Path) -> TorchPredictor:
    """Load a model from its folder. Blocks. Raises ``UserError`` that names the file which does not fit."""
    return TorchPredictor(load_model(folder))

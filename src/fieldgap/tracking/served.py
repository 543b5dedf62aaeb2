"""The code of the registered model. MLflow copies this file beside the weights, and runs it to load the model.

A request has a column `image` with PNG, JPEG or TIFF files of 8 bits per channel, in base64. The answer has a row for
each: `mask`, a PNG of class indices in base64, and for every class except the first the share of pixels that it covers.

MLflow also runs this file when it writes the model, so what loads slowly is imported where it is used.
"""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from fieldgap.base.files import read_json


def decode(text: str, bands: int) -> np.ndarray:
    """Return the first bands of an image, red first, as (H, W, bands) uint8.

    Raises:
        ValueError: The text is no such image, or the image has fewer bands.
    """
    import cv2

    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8:
        raise ValueError("image: not a PNG, JPEG or TIFF file with 8 bits per channel; send one in base64")
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    if pixels.shape[2] < bands:
        raise ValueError(f"image: has {pixels.shape[2]} bands; send the {bands} that the model was trained on")
    return np.ascontiguousarray(pixels[:, :, :bands])


def encode(mask: np.ndarray) -> str:
    """Return a mask as a PNG in base64."""
    import cv2

    return base64.b64encode(cv2.imencode(".png", mask)[1].tobytes()).decode()


class Segmentation(PythonModel):
    """A trained network with its standardisation, for images of any size."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the network from the run's config.json and load its weights."""
        from safetensors.torch import load_file

        from fieldgap.network.build import build

        config: Any = SimpleNamespace(**read_json(Path(context.artifacts["config"])))
        weights = load_file(context.artifacts["weights"])
        self.tile, self.classes = int(context.model_config["tile"]), list(context.model_config["classes"])
        self.bands = weights["mean"].numel()
        tiles: Any = SimpleNamespace(
            images=np.empty((1, self.tile, self.tile, self.bands), np.uint8),
            classes=tuple(self.classes),
            mean=weights["mean"].flatten().tolist(),
            std=weights["std"].flatten().tolist(),
        )
        self.net = build(config, tiles)
        self.net.load_state_dict(weights)
        self.net.eval()

    def segment(self, image: np.ndarray) -> np.ndarray:
        """Return the class indices, (H, W) uint8, of an image, (H, W, bands) uint8.

        The image is mirrored at its right and lower edge up to whole tiles, and the mask is cut back.
        """
        import torch

        height, width = image.shape[:2]
        padding = [(0, -side % self.tile) for side in (height, width)]
        padded = np.pad(image, [*padding, (0, 0)], mode="symmetric")
        with torch.inference_mode():
            logits = self.net(torch.from_numpy(padded).permute(2, 0, 1)[None])
        return logits.argmax(1)[0, :height, :width].numpy().astype(np.uint8)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return a row with mask and shares for each row of the request."""
        rows = []
        for text in model_input["image"]:
            mask = self.segment(decode(text, self.bands))
            shares = {name: float((mask == index).mean()) for index, name in enumerate(self.classes) if index}
            rows.append({"mask": encode(mask), **shares})
        return pd.DataFrame(rows)


set_model(Segmentation())

"""The registered model, as code that MLflow copies beside the weights: no pickle is written or read.

It takes rows with a column `image`, a PNG, JPEG or TIFF file of 8 bits a channel in base64, and gives for each the
mask, a PNG of class indices in base64, and the share of its pixels that each class but the first holds.
"""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from safetensors.torch import load_file

from fieldgap.base.files import read_json
from fieldgap.network.build import build


def decode(text: str, bands: int) -> np.ndarray:
    """-> (H, W, bands) uint8, red first. Raises ValueError for what is no such image."""
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8:
        raise ValueError("image: is no PNG, JPEG or TIFF file of 8 bits a channel in base64")
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    if pixels.shape[2] < bands:
        raise ValueError(f"image: has {pixels.shape[2]} bands; the model was trained on {bands}")
    return np.ascontiguousarray(pixels[:, :, :bands])


class Segmentation(PythonModel):
    """A trained network behind its standardisation, for images of any size."""

    def load_context(self, context: PythonModelContext) -> None:
        config: Any = SimpleNamespace(**read_json(Path(context.artifacts["config"])))
        weights = load_file(context.artifacts["weights"])
        self.tile, self.classes = int(context.model_config["tile"]), list(context.model_config["classes"])
        self.bands = weights["mean"].numel()
        like: Any = SimpleNamespace(
            images=np.empty((1, self.tile, self.tile, self.bands), np.uint8),
            classes=tuple(self.classes),
            mean=weights["mean"].flatten().tolist(),
            std=weights["std"].flatten().tolist(),
        )
        self.net = build(config, like)
        self.net.load_state_dict(weights)
        self.net.eval()

    def mask(self, image: np.ndarray) -> np.ndarray:
        """(H, W, bands) uint8 -> (H, W) class indices; mirrored up to whole tiles, then cut back."""
        height, width = image.shape[:2]
        grow = [(0, -side % self.tile) for side in (height, width)]
        whole = np.pad(image, [*grow, (0, 0)], mode="symmetric")
        with torch.inference_mode():
            logits = self.net(torch.from_numpy(whole).permute(2, 0, 1)[None])
        return logits.argmax(1)[0, :height, :width].numpy().astype(np.uint8)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        rows = []
        for text in model_input["image"]:
            mask = self.mask(decode(text, self.bands))
            png = base64.b64encode(cv2.imencode(".png", mask)[1].tobytes()).decode()
            shares = {name: float((mask == index).mean()) for index, name in enumerate(self.classes) if index}
            rows.append({"mask": png, **shares})
        return pd.DataFrame(rows)


set_model(Segmentation())

"""The code of the registered model. MLflow copies this file beside the weights, and runs it to load the model.

It works without an installed fieldgap: what it needs of it is in the artifact `code`, and nothing else of it may be
imported here. A request is one of two things.

- An array of images, (H, W, bands) or (N, H, W, bands), of whole numbers from 0 to 255. The answer has their class
  indices, (N, H, W) uint8.
- A table with a column `image` of PNG, JPEG or TIFF files with 8 bits per channel, as bytes or in base64. The answer
  has a row for each: `mask`, a PNG of class indices in base64, and for every class except the first the share of pixels
  that it covers.

MLflow also runs this file when it writes the model, so what loads slowly is imported where it is used.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


def refusal(reason: str) -> MlflowException:
    """Return the error of a request that the model cannot answer; a server sends it with status 400."""
    return MlflowException.invalid_parameter_value(reason)


@contextlib.contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Import what `folder` holds from there within the block, whatever else this process calls by the same names.

    The process's own modules, its path and its working folder are as before afterwards.
    """
    names = {path.stem for path in folder.iterdir()}

    def loaded() -> dict[str, ModuleType]:
        return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}

    modules, path = loaded(), sys.path
    for name in modules:
        del sys.modules[name]
    try:
        with contextlib.chdir(folder):  # Own parts are looked for in the working folder.
            sys.path = [str(Path.cwd()), *path]
            yield
    finally:
        sys.path = path
        for name in loaded():
            del sys.modules[name]
        sys.modules.update(modules)


def decode(image: str | bytes, bands: int) -> np.ndarray:
    """Return the first bands of an image file, red first, as (H, W, bands) uint8."""
    import cv2

    try:
        content = image if isinstance(image, bytes) else base64.b64decode(image, validate=True)
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except (TypeError, ValueError, cv2.error):
        pixels = None
    if pixels is None or pixels.dtype != np.uint8:
        raise refusal("image: not a PNG, JPEG or TIFF file with 8 bits per channel; send one, as bytes or in base64")
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    if pixels.shape[2] < bands:
        raise refusal(f"image: has {pixels.shape[2]} bands; send the {bands} that the model was trained on")
    return np.ascontiguousarray(pixels[:, :, :bands])


def checked(images: np.ndarray, bands: int) -> np.ndarray:
    """Return an array of a request as (N, H, W, bands) uint8."""
    stack = images[None] if images.ndim == 3 else images
    if stack.ndim != 4 or stack.shape[3] != bands or not stack.size:
        raise refusal(f"an array of shape {images.shape}; send (H, W, {bands}) or (N, H, W, {bands})")
    # The numbers of a JSON request arrive as int64. An image of 16 bits is none that was scaled like those of training.
    fits = stack.dtype == np.uint8 or (stack.dtype == np.int64 and stack.min() >= 0 and stack.max() <= 255)
    if not fits:
        raise refusal(f"an array of {stack.dtype} up to {stack.max()}; send whole numbers from 0 to 255, as uint8")
    return stack.astype(np.uint8)


def encode(mask: np.ndarray) -> str:
    """Return a mask as a PNG in base64."""
    import cv2

    return base64.b64encode(cv2.imencode(".png", mask)[1].tobytes()).decode()


class Segmentation(PythonModel):
    """A trained network with its standardisation, for images of any size."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the network from the run's config.json and load its weights."""
        from safetensors.torch import load_file

        config: Any = SimpleNamespace(**json.loads(Path(context.artifacts["config"]).read_text(encoding="utf-8")))
        weights = load_file(context.artifacts["weights"])
        self.tile, self.classes = int(context.model_config["tile"]), list(context.model_config["classes"])
        self.bands = weights["mean"].numel()
        tiles: Any = SimpleNamespace(
            images=np.empty((1, self.tile, self.tile, self.bands), np.uint8),
            classes=tuple(self.classes),
            mean=weights["mean"].flatten().tolist(),
            std=weights["std"].flatten().tolist(),
        )
        with importing_from(Path(context.artifacts["code"])):
            from fieldgap.network.build import build

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
    ) -> np.ndarray | pd.DataFrame:
        """Return class indices for an array of images, and a row with mask and shares for each file of a table."""
        if isinstance(model_input, np.ndarray):
            return np.stack([self.segment(image) for image in checked(model_input, self.bands)])
        try:
            files = list(model_input["image"])
        except (KeyError, TypeError, IndexError):
            raise refusal("no array of images and no table with a column image; send one of them") from None
        rows = []
        for file in files:
            mask = self.segment(decode(file, self.bands))
            shares = {name: float((mask == index).mean()) for index, name in enumerate(self.classes) if index}
            rows.append({"mask": encode(mask), **shares})
        return pd.DataFrame(rows)


set_model(Segmentation())

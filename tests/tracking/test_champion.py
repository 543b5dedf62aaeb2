"""The registered model: which one is the champion, and that it works where there is no fieldgap."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from mlflow import MlflowException
from mlflow.entities.model_registry import ModelVersion
from mlflow_server import free_port
from processes import wait_until
from stores import GRID, PARENT, Place, client_of, recorded

from fieldgap.base import names
from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json, write_json
from fieldgap.commands import merge
from fieldgap.evaluation import evaluate
from fieldgap.network.build import build
from fieldgap.tiles.packed import load
from fieldgap.tracking import outbox
from fieldgap.tracking.registry import saved_model
from fieldgap.tracking.shipped import model_of

PAGE = (ROOT / "docs/mlflow.md").read_text()


def scored(place: Place, scores: dict[str, float]) -> None:
    """Give runs other validation IoUs."""
    for name, value in scores.items():
        path = place.root / "runs" / name / "metrics.json"
        metrics = read_json(path)
        metrics["val"]["iou"] = value
        write_json(path, metrics)


def champion(place: Place, alias: str = "champion") -> ModelVersion:
    return client_of(place).get_model_version_by_alias("fieldgap", alias)


def versions(place: Place) -> dict[str, ModelVersion]:
    return {str(each.version): each for each in client_of(place).search_model_versions("name = 'fieldgap'")}


def other_tiles(place: Place) -> None:
    """Change a pixel, so that runs are validated on other tiles."""
    with (place.root / "tiles/masks.npy").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))


ONE, OTHER = ({name: GRID[name]} for name in GRID)


def test_the_champion_is_the_best_run_of_the_best_variant(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """By validation at the last epoch. Within one ablation the alias follows its best run, to the same version."""
    for best, number in (("1-0", "1"), ("0-0", "2"), ("1-0", "1")):
        scored(place, {name: 0.9 if name == best else 0.1 for name in GRID})
        place.go()
        assert (champion(place).run_id, str(champion(place).version)) == (recorded(place)[best].info.run_id, number)
    assert capsys.readouterr().err == ""


def test_a_run_without_a_validation_iou_is_no_champion(place: Place) -> None:
    scored(place, {"0-0": None, "1-0": 0.1})  # type: ignore[dict-item]
    place.go()
    assert champion(place).run_id == recorded(place)["1-0"].info.run_id
    assert champion(place).tags["final_val_iou"] == "0.1"


def test_files_that_are_links_into_a_cache_are_recorded_and_registered(place: Place, tmp_path: Path) -> None:
    """As `cache.type symlink` makes them; MLflow takes no artifact that is a link."""
    for path in [path for path in place.root.rglob("*") if path.is_file()]:
        behind = tmp_path / "cache" / str(path.relative_to(place.root)).replace("/", "-")
        behind.parent.mkdir(exist_ok=True)
        path.rename(behind)
        path.symlink_to(behind)
    assert {row["recorded"] for row in place.go()} == {"true"}
    assert champion(place).tags["fieldgap.run"] in GRID


def test_a_version_says_which_run_it_is_and_how_good(place: Place) -> None:
    scored(place, {"0-0": 0.25, "1-0": 0.75})
    place.go()
    runs, found = recorded(place), champion(place)
    inputs = {logged.tags[0].value: logged.dataset.digest for logged in runs["1-0"].inputs.dataset_inputs}
    tags = {name.removeprefix("fieldgap."): text for name, text in found.tags.items()}
    del tags["digest"]
    assert tags == {
        "run": "1-0",
        "key": read_json(place.root / "runs/1-0/status.json")["key"],
        "ablation": runs[PARENT].data.tags["fieldgap.key"],
        "val_tiles": inputs["val"],
        "final_val_iou": "0.75",
    }
    assert "1-0" in found.description
    assert "validation IoU of 0.7500" in found.description
    assert champion(place, f"champion-{inputs['val'][:8]}").version == found.version


def test_a_poorer_ablation_leaves_the_champion_of_the_same_tiles(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """A smoke test, say. Its model is registered, without an alias, and one sentence names both values."""
    scored(place, {"0-0": 0.8, "1-0": 0.3})
    place.go(ONE)
    assert capsys.readouterr().err == ""
    for _ in range(2):
        place.go(OTHER)
        (told,) = capsys.readouterr().err.splitlines()
        assert re.fullmatch(
            r"champion of fieldgap: version 1 \(0-0, .*0\.8000\) stays, .* version 2 \(1-0, .*0\.3000\).*", told
        )
        assert str(champion(place).version) == "1"
        assert {number: each.tags["fieldgap.run"] for number, each in versions(place).items()} == {
            "1": "0-0",
            "2": "1-0",
        }
        assert client_of(place).get_registered_model("fieldgap").aliases.keys() == {
            "champion",
            f"champion-{champion(place).tags['fieldgap.val_tiles'][:8]}",
        }


def test_a_better_ablation_takes_the_alias_without_a_word(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    scored(place, {"0-0": 0.8, "1-0": 0.9})
    place.go(ONE)
    place.go(OTHER)
    assert champion(place).tags["fieldgap.run"] == "1-0"
    assert capsys.readouterr().err == ""


def test_other_tiles_have_a_champion_of_their_own(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The alias follows the tiles that were recorded last, says so, and those before keep theirs."""
    scored(place, {"0-0": 0.8, "1-0": 0.3})
    place.go(ONE)
    first = champion(place)
    other_tiles(place)
    assert capsys.readouterr().err == ""
    place.go(OTHER)
    (told,) = capsys.readouterr().err.splitlines()
    kept = f"champion-{first.tags['fieldgap.val_tiles'][:8]}"
    assert told == (
        "champion of fieldgap: version 2 (1-0, validation IoU 0.3000) takes the place of version 1 (0-0, validation "
        f"IoU 0.8000), which has other validation tiles and remains fieldgap@{kept}"
    )
    assert str(champion(place).version) == "2"
    assert str(champion(place, kept).version) == "1"
    other_tiles(place)
    place.go(OTHER)
    assert str(champion(place).version) == "1"
    assert "version 1 (0-0, validation IoU 0.8000) stays" in capsys.readouterr().err


def test_a_champion_of_an_earlier_fieldgap_is_replaced_and_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    client = client_of(place)
    client.create_registered_model("fieldgap")
    client.create_model_version("fieldgap", str(place.root))
    client.set_registered_model_alias("fieldgap", "champion", "1")
    scored(place, {"0-0": 0.8})
    place.go(ONE)
    assert str(champion(place).version) == "2"
    (told,) = capsys.readouterr().err.splitlines()
    assert told.endswith("takes the place of version 1 (without a metric)")


def test_what_waited_from_earlier_grids_takes_no_alias_from_the_present(place: Place) -> None:
    scored(place, {"0-0": 0.8, "1-0": 0.3})
    place.with_store("http://127.0.0.1:9").go(ONE)
    other_tiles(place)
    place.go(OTHER)
    assert champion(place).tags["fieldgap.run"] == "1-0"
    assert {each.tags["fieldgap.run"] for each in versions(place).values()} == {"0-0", "1-0"}


@pytest.fixture
def model(place: Place) -> Path:
    """The folder of the champion's model, from a place whose best run is 1-0."""
    scored(place, {"0-0": 0.1, "1-0": 0.9})
    place.go()
    return Path(champion(place).source)


def expected(place: Place, image: np.ndarray) -> np.ndarray:
    """Return what the run's own network says of an image, (H, W, 3) uint8 in red, green and blue."""
    folder = place.root / "runs/1-0"
    config: Any = SimpleNamespace(**read_json(folder / "config.json"))
    net = build(config, load(place.root / "tiles")).eval()
    evaluate.load_weights(net, folder / "weights.safetensors")
    padded = np.pad(image, [*((0, -side % 32) for side in image.shape[:2]), (0, 0)], "symmetric")
    with torch.no_grad():
        logits = net(torch.from_numpy(padded.transpose(2, 0, 1)[None].copy()))
    return logits.argmax(1)[0].numpy()[: image.shape[0], : image.shape[1]]


def picture(scenes: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(scenes / "images/scene_000.png")), cv2.COLOR_BGR2RGB)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[:, :, ::-1] if image.ndim == 3 else image)[1].tobytes()


def decoded(text: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED)


def test_a_model_is_weights_and_the_code_that_builds_them(model: Path) -> None:
    """No pickle, no package of ours, and of the sources only what the network needs."""
    files = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert files - {each for each in files if each.startswith("artifacts/code/")} == {
        "MLmodel",
        "artifacts/config.json",
        "artifacts/weights.safetensors",
        "conda.yaml",
        "python_env.yaml",
        "requirements.txt",
        "served.py",
    }
    code = model / "artifacts/code"
    shipped = {path.relative_to(code).as_posix(): path.read_bytes() for path in code.rglob("*") if path.is_file()}
    assert {"fieldgap/network/build.py", "fieldgap/parts/unet.py"} < shipped.keys()
    assert shipped == {name: (ROOT / "src" / name).read_bytes() for name in shipped}
    assert {name.split("/")[1] for name in shipped} == {"__init__.py", "base", "network", "parts"}
    assert not {"fieldgap/network/measure.py", "fieldgap/parts/schedules.py"} & shipped.keys()
    packages = ("mlflow", "numpy", "opencv-python-headless", "pandas", "safetensors", "torch")
    assert (model / "requirements.txt").read_text().split() == [f"{name}=={version(name)}" for name in packages]
    assert "fieldgap" not in (model / "conda.yaml").read_text()


def test_a_lock_file_of_the_project_does_not_come_along(place: Place) -> None:
    """MLflow would copy uv.lock and pyproject.toml, which name fieldgap, and set the model up by them."""
    Path("uv.lock").write_text("version = 1\n")
    Path("pyproject.toml").write_text('[project]\nname = "fieldgap"\nversion = "0.1.0"\n')
    place.go()
    assert not [*Path(champion(place).source).glob("uv.lock"), *Path(champion(place).source).glob("pyproject.toml")]


def test_it_answers_arrays_with_class_indices(
    model: Path, place: Place, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    loaded = mlflow.pyfunc.load_model(str(model))
    image = picture(scenes)[:40, :33]
    stack = np.stack([image, image[::-1]])
    answer = loaded.predict(stack)
    assert answer.dtype == np.uint8
    assert answer.shape == (2, 40, 33)
    assert (answer == np.stack([expected(place, each) for each in stack])).all()
    assert (loaded.predict(image) == answer[:1]).all()
    assert (loaded.predict(stack.astype(np.int64)) == answer).all()  # As JSON arrives.


def test_it_answers_files_with_masks_and_shares(model: Path, place: Place, scenes: Path) -> None:
    """A scene of 64 px is two by two tiles. A part of it is mirrored up to whole tiles, and its mask is cut back."""
    loaded = mlflow.pyfunc.load_model(str(model))
    whole = picture(scenes)
    images = [whole, whole[:40, :33], whole[:1, :1], np.dstack([whole, whole[:, :, 0]])]
    files: list[str | bytes] = [base64.b64encode(png(image)).decode() for image in images[:3]]
    files.append(cv2.imencode(".png", images[3][:, :, [2, 1, 0, 3]])[1].tobytes())
    for table in (pd.DataFrame({"image": files}), {"image": np.array(files, object)}):
        answer = loaded.predict(table)
        for image, row in zip(images, answer.to_dict("records"), strict=True):
            mask = decoded(row["mask"])
            assert (mask == expected(place, image[:, :, :3])).all()
            assert row["farmland"] == pytest.approx((mask == 1).mean())


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (np.zeros((8, 8, 3), np.uint16), "an array of uint16 up to 0; send whole numbers from 0 to 255, as uint8"),
        (np.zeros((8, 8, 3), np.float64), "an array of float64"),
        (np.full((8, 8, 3), 256), "an array of int64 up to 256"),
        (np.full((8, 8, 3), -1), "an array of int64"),
        (np.zeros((8, 8, 4), np.uint8), r"shape \(8, 8, 4\); send \(H, W, 3\) or \(N, H, W, 3\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"shape \(2, 3, 8, 8\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"shape \(0, 8, 8, 3\)"),
        (np.array(["iVBORw0K"]), r"shape \(1,\)"),
        (pd.DataFrame({"picture": ["x"]}), "no table with a column image"),
        (pd.DataFrame({"image": [base64.b64encode(b"no image").decode()]}), "not a PNG, JPEG or TIFF file"),
        (pd.DataFrame({"image": ["scene_000.png"]}), "not a PNG, JPEG or TIFF file"),
        (pd.DataFrame({"image": [b""]}), "not a PNG, JPEG or TIFF file"),
        (pd.DataFrame({"image": [0.5]}), "not a PNG, JPEG or TIFF file"),
        (pd.DataFrame({"image": [png(np.zeros((8, 8), np.uint16))]}), "8 bits per channel"),
        (pd.DataFrame({"image": [png(np.zeros((8, 8), np.uint8))]}), "has 1 bands; send the 3"),
    ],
)
def test_it_refuses_what_it_was_not_trained_on(served: Any, request_: Any, message: str) -> None:
    with pytest.raises(MlflowException, match=message) as told:
        served.predict(request_)
    assert told.value.get_http_status_code() == 400


@pytest.fixture(scope="module")
def served(made: Path, empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The best run's model, loaded. It does not change."""
    files = {name: str(made / "runs/1-0" / name) for name in ("weights.safetensors", "config.json")}
    with saved_model(files, model_of("unet", 32, ["background", "farmland"])) as folder:
        return mlflow.pyfunc.load_model(str(folder))


def test_loading_it_leaves_the_process_as_it_was(model: Path) -> None:
    """The model runs on what came with it, and the process keeps its own modules, path and folder."""
    code = model / "artifacts/code/fieldgap/network/build.py"
    code.write_text(code.read_text() + "\n\nOF_THE_MODEL = True\n")
    modules, path, folder = dict(sys.modules), list(sys.path), Path.cwd()
    loaded = mlflow.pyfunc.load_model(str(model))
    ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "fieldgap"}
    assert ours == {name: module for name, module in modules.items() if name.partition(".")[0] == "fieldgap"}
    assert sys.path == path
    assert Path.cwd() == folder
    net = loaded.unwrap_python_model().net
    assert type(net).__init__.__globals__["OF_THE_MODEL"]
    assert not hasattr(sys.modules["fieldgap.network.build"], "OF_THE_MODEL")


OWN = {
    "own/nets.py": """
from own.layers import grown
import timm

def small(*, classes: int):
    return grown(classes)
""",
    "own/layers.py": """
from typing import TYPE_CHECKING
from fieldgap.parts.unet import UNet
if TYPE_CHECKING:
    from own import types

def grown(classes):
    return UNet(2, 2, classes, "batch")
""",
    "own/types.py": "",
    "own/unused.py": "",
}


@pytest.fixture
def owned(place: Place) -> Place:
    """A project whose runs have a network of the user's own. It has the layers of the network that was trained."""
    for name, text in OWN.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    for name in GRID:
        path = place.root / "runs" / name / "config.json"
        write_json(path, {**read_json(path), "model": "own.nets:small"})
    return place


def test_a_network_of_ones_own_comes_along_with_what_it_imports(
    owned: Place, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if it was recorded later and elsewhere, and this process has another module of its name."""
    assert {row["recorded"] for row in owned.with_store("http://127.0.0.1:9").go()} == {"false"}
    shutil.rmtree("own")
    shutil.rmtree(owned.root / "runs")
    merge.run(names.SPOOLS, owned.record)
    folder = Path(champion(owned).source)
    code = folder / "artifacts/code"
    assert {path.relative_to(code).as_posix() for path in code.glob("own/*")} == {"own/nets.py", "own/layers.py"}
    assert f"timm=={version('timm')}" in (folder / "requirements.txt").read_text().split()
    stranger = ModuleType("own")
    monkeypatch.setitem(sys.modules, "own", stranger)
    loaded = mlflow.pyfunc.load_model(str(folder))
    assert {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "own"} == {
        "own": stranger
    }
    assert loaded.predict(picture(scenes)).shape == (1, 64, 64)


def test_a_network_of_ones_own_that_is_gone_is_named(owned: Place) -> None:
    Path("own/layers.py").write_bytes(b"# \xff")
    with pytest.raises(InputError, match=r"own/layers\.py: cannot be read as a Python file"):
        owned.go()
    Path("own/layers.py").write_text("def")
    with pytest.raises(InputError, match=r"own/layers\.py: cannot be read as a Python file"):
        owned.go()
    Path("own/nets.py").unlink()
    with pytest.raises(InputError, match=r"own\.nets:small: there is no own/nets\.py in the project's folder"):
        owned.go()


def test_a_library_is_required_by_the_networks_that_use_it() -> None:
    assert model_of("smp.FPN", 32, ["a", "b"])["packages"] == [
        f"segmentation_models_pytorch=={version('segmentation_models_pytorch')}"
    ]
    assert model_of("unet", 32, ["a", "b"])["packages"] == []


def test_a_parcel_with_a_model_that_reaches_further_is_set_aside(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.with_store("http://127.0.0.1:9").go()
    (path,) = (path for path in names.SPOOLS.glob("*/entry.json") if read_json(path)["model"])
    entry = read_json(path)
    changes: list[dict[str, Any]] = [
        {"packages": ["--index-url http://example.org"]},
        {"packages": ["evil @ http://example.org/evil.tar.gz"]},
        {"packages": ["evil==1.0\n-r other.txt"]},
        {"code": {"../../served.py": ""}},
        {"code": {"/own/nets.py": ""}},
        {"tile": None},
    ]
    for change in changes:
        write_json(path, {**entry, "model": {**entry["model"], **change}})
        capsys.readouterr()
        assert len(outbox.load(names.SPOOLS)) == 2
        assert f"{path}: cannot be used (model" in capsys.readouterr().err
    write_json(path, entry)
    assert len(outbox.load(names.SPOOLS)) == 3


def test_merging_runs_no_code_that_a_parcel_brings(place: Place) -> None:
    place.with_store("http://127.0.0.1:9").go()
    (path,) = (path for path in names.SPOOLS.glob("*/entry.json") if read_json(path)["model"])
    entry = read_json(path)
    entry["model"]["code"] = dict.fromkeys(entry["model"]["code"], "import os\nos.mkdir('canary')\n")
    write_json(path, entry)
    merge.run(names.SPOOLS, place.record)
    assert not Path("canary").exists()
    with contextlib.suppress(Exception):  # It is not whole, but runs.
        mlflow.pyfunc.load_model(champion(place).source)
    assert list(Path().rglob("canary")), "the test would prove nothing"


def test_a_model_whose_configuration_names_a_library_is_refused(model: Path) -> None:
    config = read_json(model / "artifacts/config.json")
    write_json(model / "artifacts/config.json", {**config, "model": "os:mkdir"})
    with pytest.raises(Exception, match=r"os:mkdir: there is no os\.py"):
        mlflow.pyfunc.load_model(str(model))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a Python that has the packages of this one, but no fieldgap.

    They come by a .pth file, and Python reads no further .pth files in a folder that came so. Such a file is how
    fieldgap is installed here.
    """
    folder = tmp_path_factory.mktemp("stranger")
    venv.create(folder)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    programs = Path(sysconfig.get_path("scripts", vars={"base": str(folder)}))
    for name in ("mlflow", "uvicorn"):
        _, script = (Path(sysconfig.get_path("scripts")) / name).read_text().split("\n", 1)
        (programs / name).write_text(f"#!{programs / 'python'}\n{script}")
        (programs / name).chmod(0o755)
    return programs


@pytest.fixture
def abroad(stranger: Path, tmp_path: Path) -> dict[str, Any]:
    """How a process is started there: in a folder of no project, where fieldgap cannot be imported."""
    away = tmp_path / "away"
    away.mkdir()
    kept = ("HOME", "LANG", "TMPDIR")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env |= {"PATH": f"{stranger}:/usr/bin:/bin", "PYTHONNOUSERSITE": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    how = {"cwd": away, "env": env}
    tried = subprocess.run(
        ["python", "-c", "import numpy, fieldgap"], **how, capture_output=True, text=True, check=False
    )
    assert "No module named 'fieldgap'" in tried.stderr
    return how


def block(language: str, *words: str) -> str:
    """Return the one block of the page in this language that has these words."""
    (found,) = (
        text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if all(w in text for w in words)
    )
    return found


def test_it_predicts_where_there_is_no_fieldgap(
    model: Path, place: Place, scenes: Path, abroad: dict[str, Any]
) -> None:
    """By the lines of Python in the page."""
    images = np.stack([picture(scenes), picture(scenes)[::-1]])
    np.save(abroad["cwd"] / "images.npy", images)
    shutil.copy("mlflow.db", abroad["cwd"])
    page = block("python", "load_model")
    script = f"import numpy\nimages = numpy.load('images.npy')\n{page}\nnumpy.save('masks.npy', masks)"
    subprocess.run(["python", "-c", script], **abroad, check=True)
    masks = np.load(abroad["cwd"] / "masks.npy")
    assert masks.dtype == np.uint8
    assert (masks == np.stack([expected(place, image) for image in images])).all()


@pytest.mark.slow
def test_the_pages_commands_work_where_there_is_no_fieldgap(
    model: Path, place: Place, scenes: Path, abroad: dict[str, Any]
) -> None:
    """`mlflow models predict`, and `mlflow models serve` with a request by curl and one with arrays."""
    folder = abroad["cwd"]
    (folder / "data/demo").mkdir(parents=True)
    shutil.copytree(scenes / "images", folder / "data/demo/images")
    shutil.copy("mlflow.db", folder)
    mask = expected(place, picture(scenes))
    done = subprocess.run(
        ["bash", "-ec", block("sh", "mlflow models predict")], **abroad, capture_output=True, text=True, check=True
    )
    (row,) = json.loads(done.stdout.splitlines()[-1])["predictions"]
    assert (decoded(row["mask"]) == mask).all()

    serve, curl = (block("sh", words) for words in ("mlflow models serve", "curl"))
    port = str(free_port())
    with serving(serve.replace("5002", port), port, abroad):
        done = subprocess.run(
            ["bash", "-ec", curl.replace("5002", port)], **abroad, capture_output=True, text=True, check=True
        )
        (row,) = json.loads(done.stdout)["predictions"]
        assert (decoded(row["mask"]) == mask).all()
        assert row["farmland"] == pytest.approx((mask == 1).mean())
        for key in ("inputs", "instances"):
            answer = asked(port, {key: picture(scenes)[None].tolist()})
            assert (np.array(answer["predictions"]) == mask[None]).all()
        with pytest.raises(urllib.error.HTTPError) as told:
            asked(port, {"inputs": [[[256, 0, 0]]]})
        assert told.value.code == 400
        assert "send whole numbers from 0 to 255" in json.loads(told.value.read())["message"]


def asked(port: str, request: dict[str, Any]) -> dict[str, Any]:
    """Return what a server of the model answers."""
    headers = {"Content-Type": "application/json"}
    address = f"http://127.0.0.1:{port}/invocations"
    with urllib.request.urlopen(urllib.request.Request(address, json.dumps(request).encode(), headers)) as answer:
        return json.load(answer)


@contextlib.contextmanager
def serving(command: str, port: str, abroad: dict[str, Any]) -> Iterator[None]:
    """Run a server until the end of the block, once it answers."""
    with subprocess.Popen(["bash", "-ec", command], **abroad, start_new_session=True) as process:
        try:
            wait_until(lambda: process.poll() is not None or answers(port), "an answer")
            assert process.poll() is None
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def answers(port: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/ping").status == 200)
    return False

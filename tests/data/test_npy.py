from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldgap.data.npy import NpyWriter


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=5), st.sampled_from([(), (3,), (4, 4, 3)]))
def test_a_grown_file_has_the_bytes_of_one_that_numpy_saves_at_once(counts: list[int], shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (count, *shape)).astype(np.uint8) for count in counts]
    with TemporaryDirectory() as folder:
        grown, whole = Path(folder, "grown.npy"), Path(folder, "whole.npy")
        with NpyWriter(grown, shape) as writer:
            for array in arrays:
                writer.extend(array)
        np.save(whole, np.concatenate([np.zeros((0, *shape), np.uint8), *arrays]))
        assert grown.read_bytes() == whole.read_bytes()


def test_an_error_closes_the_file(tmp_path: Path) -> None:
    with suppress(KeyError), NpyWriter(tmp_path / "a.npy", (2,)) as writer:
        writer.extend(np.ones((3, 2), np.uint8))
        raise KeyError
    assert np.load(tmp_path / "a.npy").shape == (3, 2)

"""What is read of DVC's own record of results."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fieldgap.engines.adoption import adopt, files_of, locked

FILES = [{"path": f"data/{name}", "hash": "md5", "md5": f"{name:032x}", "size": 7} for name in range(5)]
COMMAND = "python -m fieldgap split --images 'data/my images'"
STAGES = {name: {"cmd": COMMAND, "deps": FILES[:2], "outs": FILES[2:]} for name in ("split", "normalize")}


def test_what_a_kill_left_of_the_file_tells_nothing_that_the_whole_file_would_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_dump({"schema": "2.0", "stages": STAGES}, sort_keys=False)
    known = {(each["path"], each["md5"]) for each in FILES}
    seen = []
    for length in range(len(text) + 1):
        Path("dvc.lock").write_text(text[:length])
        assert not adopt()
        found = locked()
        assert all(entry["cmd"] in COMMAND for entry in found)
        assert {pair for entry in found for key in ("deps", "outs") for pair in files_of(entry.get(key) or [])} <= known
        seen.append(len(found))
    assert (seen[0], seen[-1]) == (0, 2)

"""Pictures are kept whole or not at all, whoever is killed, and never beyond the limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from nbcorr.visualization.cache import PictureCache, picture_key

WRITER = """
import sys, numpy as np
from nbcorr.visualization.cache import PictureCache
cache = PictureCache(sys.argv[1], limit_bytes=int(sys.argv[2]))
print("ready", flush=True)
for turn in range(int(sys.argv[3])):
    for name in "abcde":
        cache.put(name, {"image": np.full(40_000, turn), "turn": np.array(turn)})
"""


def writer(folder: Path, limit: int, turns: int) -> subprocess.Popen:
    arguments = [sys.executable, "-c", WRITER, str(folder), str(limit), str(turns)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def picture(value: float = 1.0) -> dict[str, np.ndarray]:
    return {"image": np.full((4, 5), value, np.float32), "reached": np.array(value)}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def age(folder: Path, key: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(folder / f"{key}.npz", (then, then))


def test_what_was_put_is_got(tmp_path):
    cache = PictureCache(tmp_path / "new" / "folder")
    assert cache.get("a") is None
    cache.put("a", picture(0.25))
    for again in (cache, PictureCache(tmp_path / "new" / "folder")):
        found = again.get("a")
        assert found.keys() == {"image", "reached"}
        assert found["image"].dtype == np.float32
        np.testing.assert_array_equal(found["image"], picture(0.25)["image"])
        assert found["reached"] == 0.25
    cache.put("a", picture(2.0))
    assert cache.get("a")["reached"] == 2.0


def test_the_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    PictureCache().put("a", picture())
    assert [p.name for p in tmp_path.rglob("*.npz")] == ["a.npz"]


@pytest.mark.parametrize("at", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_file_is_a_miss_and_goes(tmp_path, at, damage):
    cache = PictureCache(tmp_path)
    cache.put("a", {"image": np.arange(1000)})
    path = tmp_path / "a.npz"
    whole = path.read_bytes()
    place = int(at * len(whole))
    flipped = (
        whole[:place] + bytes(255 - b for b in whole[place : place + 64]) + whole[place + 64 :]
    )
    path.write_bytes(whole[:place] if damage == "cut" else flipped)
    assert cache.get("a") is None
    assert names(tmp_path) == set()
    cache.put("a", picture())
    assert cache.get("a") is not None


def test_a_file_with_pickles_in_it_is_not_opened(tmp_path):
    np.savez(tmp_path / "a.npz", image=np.array([object()], dtype=object))
    assert PictureCache(tmp_path).get("a") is None
    with pytest.raises(ValueError, match="Object arrays"):
        PictureCache(tmp_path).put("b", {"image": np.array([object()])})
    assert names(tmp_path) == set()


def test_the_least_recently_used_go_first(tmp_path):
    PictureCache(tmp_path).put("a", picture())
    size = (tmp_path / "a.npz").stat().st_size
    cache = PictureCache(tmp_path, limit_bytes=3 * size)
    for rank, key in enumerate("bca"):
        cache.put(key, picture())
        age(tmp_path, key, 100 - rank)
    assert cache.get("b") is not None
    cache.put("d", picture())
    assert names(tmp_path) == {"a.npz", "b.npz", "d.npz"}
    PictureCache(tmp_path, limit_bytes=0).put("e", picture())
    assert names(tmp_path) == set()


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    PictureCache(tmp_path, limit_bytes=0).put("a", picture())
    assert names(tmp_path) == {"notes.txt"}


def test_a_writer_that_is_killed_leaves_only_whole_pictures(tmp_path):
    cache = PictureCache(tmp_path)
    for wait in (0.0, 0.003, 0.01, 0.03):
        process = writer(tmp_path, 1 << 30, 1_000_000)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for key in "abcde":
            found = cache.get(key)
            assert found is None or (found["image"] == found["turn"]).all()
    for part in tmp_path.glob("*.part"):
        os.utime(part, (0, 0))
    (tmp_path / "older.part").write_bytes(b"half")
    os.utime(tmp_path / "older.part", (0, 0))
    (tmp_path / "now.part").write_bytes(b"being written")
    cache.put("a", picture())
    assert names(tmp_path) & {"older.part", "now.part"} == {"now.part"}
    assert len(list(tmp_path.glob("*.part"))) == 1


def test_two_processes_share_a_folder_beyond_its_limit(tmp_path):
    limit = 1_000_000
    processes = [writer(tmp_path, limit, 15) for _ in range(2)]
    cache, seen = PictureCache(tmp_path, limit), 0
    while any(process.poll() is None for process in processes):
        for key in "abcde":
            found = cache.get(key)
            if found is not None:
                seen += 1
                assert (found["image"] == found["turn"]).all()
    assert [process.returncode for process in processes] == [0, 0]
    assert seen > 0
    cache.put("f", picture())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= limit
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("no folder")
    cache = PictureCache(tmp_path / "file")
    with pytest.warns(UserWarning, match="pictures are not kept in .*file"):
        cache.put("a", picture())
    assert cache.get("a") is None


def test_a_negative_limit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="limit_bytes is -1; expected at least 0"):
        PictureCache(tmp_path, limit_bytes=-1)


KEYS = [
    {"seed": 0, "layer": "a"},
    {"seed": 1, "layer": "a"},
    {"seed": 0.5, "layer": "a"},
    {"seed": None, "layer": "a"},
    {"vector": np.arange(4.0)},
    {"vector": np.arange(4)},
    {"vector": np.arange(4.0).reshape(2, 2)},
    {"vector": torch.arange(4.0)},
    {"vector": torch.arange(4.0, dtype=torch.bfloat16)},
    {"bounds": [np.zeros(2), (np.ones(2), "x")]},
    {"device": torch.device("cpu"), "dtype": torch.float32},
    {"device": torch.device("cpu"), "dtype": torch.float16},
]


def test_keys_differ_where_what_they_stand_for_differs():
    assert len({picture_key(**what) for what in KEYS}) == len(KEYS)
    assert picture_key(a=1, b=np.int64(2)) == picture_key(b=2, a=1)
    assert picture_key(a=np.arange(6.0)[::2]) == picture_key(a=np.array([0.0, 2.0, 4.0]))


def test_keys_are_the_same_in_another_process():
    program = (
        "import numpy as np; from nbcorr.visualization.cache import picture_key\n"
        "print(picture_key(a={'x': 1, 'y': (2.5, 'z')}, b=np.arange(3)))"
    )
    shown = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert shown.strip() == picture_key(b=np.arange(3), a={"y": [2.5, "z"], "x": 1})


@pytest.mark.parametrize("value", [object(), len, np.array([object()]), [{1: len}]])
def test_what_has_no_canonical_text_is_refused(value):
    with pytest.raises(TypeError, match="a picture's key holds"):
        picture_key(what=value)

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import pytest

from nbcorr import zoo
from nbcorr.zoo import photographs
from nbcorr.zoo.cache import cache_dir, write_atomically


def test_importing_the_zoo_loads_nothing_heavy():
    check = (
        "import sys, nbcorr.zoo; heavy = {'torch', 'sklearn', 'xarray', 'numpy', 'skimage'};"
        "print(*heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_every_public_name_is_a_documented_function():
    assert set(zoo.__all__) >= {"digits", "planted_pair", "efficientnet_lite0", "cifar10"}
    for name in zoo.__all__:
        assert len(getattr(zoo, name).__doc__) > 80, name


def test_every_photograph_has_its_licence():
    text = files("nbcorr.zoo").joinpath("licenses/photos.txt").read_text("utf-8")
    named = {line.split()[0] for line in text.splitlines() if line and not line[0].isupper()}
    assert set(photographs.PHOTOS) <= named


def test_a_file_that_could_not_be_written_leaves_the_old_one(cache):
    path = cache_dir() / "thing"
    assert path.parent == cache
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half of the n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(cache.iterdir()) == [path]

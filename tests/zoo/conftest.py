from __future__ import annotations

import io
import json
import pickle
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TRAIN_PER_BATCH, TEST = 4, 6


class Server(ThreadingHTTPServer):
    """Serves ``content`` on the loopback interface; can cut a transfer and can ignore ranges."""

    content = b""
    cut_after: int | None = None
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/archive.tar.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if not self.server.ranges:
            start = 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut_after])

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of our own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nbcorr"


@pytest.fixture(scope="session")
def arrays() -> dict[str, np.ndarray]:
    """A CIFAR-10 of 20 training and 6 test images."""
    rng = np.random.default_rng(0)
    n_train = 5 * TRAIN_PER_BATCH
    return {
        "train_images": rng.integers(0, 256, (n_train, 3, 32, 32)).astype(np.uint8),
        "train_labels": rng.integers(0, 10, n_train).astype(np.uint8),
        "test_images": rng.integers(0, 256, (TEST, 3, 32, 32)).astype(np.uint8),
        "test_labels": rng.integers(0, 10, TEST).astype(np.uint8),
    }


def batches(arrays: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    parts = {}
    for k in range(5):
        part = slice(k * TRAIN_PER_BATCH, (k + 1) * TRAIN_PER_BATCH)
        parts[f"data_batch_{k + 1}"] = (arrays["train_images"][part], arrays["train_labels"][part])
    return {**parts, "test_batch": (arrays["test_images"], arrays["test_labels"])}


def packed_tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture(scope="session")
def npm_archive(arrays: dict[str, np.ndarray]) -> bytes:
    """The layout of the npm package: one image a row of a PNG sheet, labels in JSON."""
    files = {}
    for name, (images, _) in batches(arrays).items():
        png = io.BytesIO()
        rows = images.transpose(0, 2, 3, 1).reshape(len(images), 1024, 3)
        Image.fromarray(rows).save(png, format="png")
        files[f"package/{name}.png"] = png.getvalue()
    for split in ("train", "test"):
        labels = arrays[f"{split}_labels"].tolist()
        files[f"package/{split}_lables.json"] = json.dumps(labels).encode()
    return packed_tar(files)


def python2_pickle(name: str, batch: object) -> tuple[str, bytes]:
    """A pickle as the authors' Python 2 wrote it: protocol 2, NumPy's old module names."""
    content = pickle.dumps(batch, protocol=2).replace(b"numpy._core.", b"numpy.core.")
    return f"cifar-10-batches-py/{name}", content


@pytest.fixture(scope="session")
def official_archive(arrays: dict[str, np.ndarray]) -> bytes:
    return packed_tar(
        dict(
            python2_pickle(name, {b"data": images.reshape(-1, 3072), b"labels": labels.tolist()})
            for name, (images, labels) in batches(arrays).items()
        )
    )


@pytest.fixture
def archive() -> Callable[[dict[str, bytes]], bytes]:
    return packed_tar


@pytest.fixture
def official() -> Callable[[str, object], tuple[str, bytes]]:
    return python2_pickle

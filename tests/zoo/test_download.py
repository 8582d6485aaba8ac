from __future__ import annotations

import hashlib
import socket

import pytest

from nbcorr.zoo.download import FetchError, download, npm_pack

CONTENT = bytes(range(256)) * 40_000
MD5 = hashlib.md5(CONTENT).hexdigest()


def fetch(url, path, digest=MD5):
    return download(url, path, algorithm="md5", digest=digest)


def test_a_file_is_fetched_whole(server, tmp_path):
    server.content = CONTENT
    path = fetch(server.url, tmp_path / "new" / "file.gz")
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert server.asked == [None]


def test_after_a_cut_only_the_rest_is_fetched(server, tmp_path):
    server.content, server.cut_after = CONTENT, 3_000_000
    path = tmp_path / "file.gz"
    with pytest.raises(FetchError, match="cut after 3000000 of 10240000 bytes"):
        fetch(server.url, path)
    assert not path.exists()
    server.cut_after = None
    assert fetch(server.url, path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=3000000-"]


def test_a_server_that_knows_no_ranges_sends_it_all_again(server, tmp_path):
    server.content, server.ranges = CONTENT, False
    (tmp_path / "file.gz.part").write_bytes(CONTENT[:1000])
    assert fetch(server.url, tmp_path / "file.gz").read_bytes() == CONTENT


def test_a_part_that_is_complete_needs_no_more(server, tmp_path):
    server.content = CONTENT
    (tmp_path / "file.gz.part").write_bytes(CONTENT)
    assert fetch(server.url, tmp_path / "file.gz").read_bytes() == CONTENT


def test_a_wrong_hash_is_named_and_nothing_is_left(server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    found = hashlib.md5(server.content).hexdigest()
    with pytest.raises(FetchError, match=rf"file\.gz has md5 {found}, expected {MD5}"):
        fetch(server.url, tmp_path / "file.gz")
    assert list(tmp_path.iterdir()) == []


def test_no_connection_is_one_sentence(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file.gz"
    with pytest.raises(FetchError, match="could not fetch http://127") as error:
        fetch(url, tmp_path / "file.gz")
    assert "\n" not in str(error.value)


def test_a_page_that_is_not_there(server, tmp_path):
    server.content = b""
    with pytest.raises(FetchError):
        fetch(server.url, tmp_path / "file.gz")
    assert not (tmp_path / "file.gz").exists()


def npm(folder, script: str) -> None:
    program = folder / "npm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_npm_is_asked_to_run_no_scripts(tmp_path, monkeypatch):
    npm(tmp_path, 'echo "$@" > package.tgz')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = npm_pack("thing@1.0.0", tmp_path / "out" / "thing.tgz")
    assert path.read_text().split() == [
        "pack",
        "--ignore-scripts",
        "--loglevel=error",
        "--fetch-retries=1",
        "thing@1.0.0",
    ]
    assert list(path.parent.iterdir()) == [path]


def test_what_npm_says_is_passed_on(tmp_path, monkeypatch):
    npm(tmp_path, 'echo "npm error code ENOTFOUND" >&2; echo "npm error more" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(FetchError, match="thing@1.0.0: npm error code ENOTFOUND$"):
        npm_pack("thing@1.0.0", tmp_path / "thing.tgz")


def test_no_npm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match="npm is not installed"):
        npm_pack("thing@1.0.0", tmp_path / "thing.tgz")

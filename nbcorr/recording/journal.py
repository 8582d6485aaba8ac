"""An append-only file of records: each is in it as a whole, or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# Length and checksum of a record; the length of its JSON part.
_FRAME = struct.Struct("<QI")
_TEXT = struct.Struct("<Q")
# Linux looks for pages that lie together for as much as is written at once: for 4 MB that can take
# it ten times as long as copying them.
_AT_ONCE = 1 << 20


@dataclasses.dataclass(frozen=True)
class Record:
    """One record.

    Attributes
    ----------
    kind : str
    facts : dict
        What JSON can hold.
    arrays : dict of str to array
        Of numbers, text (``U``), bytes or times; no objects, hence no pickles.
    """

    kind: str
    facts: dict[str, Any]
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __bytes__(self) -> bytes:
        arrays = {name: np.ascontiguousarray(values) for name, values in self.arrays.items()}
        shapes = [[name, values.dtype.str, values.shape] for name, values in arrays.items()]
        text = json.dumps({"kind": self.kind, "facts": self.facts, "arrays": shapes}).encode()
        return b"".join([_TEXT.pack(len(text)), text, *(a.tobytes() for a in arrays.values())])

    @classmethod
    def from_bytes(cls, content: bytes) -> Record:
        """The record that these bytes came from."""
        (length,) = _TEXT.unpack_from(content)
        at = _TEXT.size + length
        said = json.loads(content[_TEXT.size : at])
        arrays = {}
        for name, code, shape in said["arrays"]:
            dtype = np.dtype(code)
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(content, dtype, count, at).reshape(shape)
            at += count * dtype.itemsize
        return cls(said["kind"], said["facts"], arrays)


class Journal:
    """The file of records, to be read by anyone and written by one.

    A record counts once all of it is in the file. What a killed writer left of its last one is
    passed over by readers and written over by the next writer. (The bytes are handed to the
    operating system: they outlive the process, not a power cut.)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end = 0

    def records(self) -> Iterator[Record]:
        """Every whole record in turn; after the last, `append` knows where to go on."""
        at = 0
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            while len(frame := file.read(_FRAME.size)) == _FRAME.size:
                length, checksum = _FRAME.unpack(frame)
                content = _read_at_most(file, length)
                whole = _TEXT.size <= len(content) == length
                if not whole or zlib.crc32(content) != checksum:
                    break
                at = file.tell()
                yield Record.from_bytes(content)
        self._end = at

    def append(self, record: Record) -> None:
        """Write a record behind the last whole one."""
        content = bytes(record)
        with open(self.path, "r+b" if self.path.exists() else "x+b", buffering=0) as file:
            file.truncate(self._end)
            file.seek(self._end)
            write_all(file, _FRAME.pack(len(content), zlib.crc32(content)) + content)
        self._end += _FRAME.size + len(content)


def write_all(file: Any, content: Any) -> None:
    """Write all bytes to an unbuffered file, which may take them in parts when space runs out."""
    view = memoryview(content).cast("B")
    while len(view):
        view = view[file.write(view[:_AT_ONCE]) :]


def _read_at_most(file: Any, length: int) -> bytes:
    """So many bytes or those that are there; a torn length must not ask for terabytes."""
    at = file.tell()
    left = file.seek(0, 2) - at
    file.seek(at)
    return file.read(min(length, left))

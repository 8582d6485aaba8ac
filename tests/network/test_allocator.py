"""While a network runs its freed memory is kept; afterwards the system has it back.

Each runs in a process of its own, for what is set cannot be taken back entirely.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PAGES = (100 << 20) // 4096  # of 4 KiB in the tensors that are counted

HEAD = """
import ctypes, itertools, json, resource, threading
import torch
from nbcorr.network.allocator import keeping_freed_memory

torch.set_num_threads(1)
cpu = torch.device("cpu")

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks",
        "uordblks", "fordblks", "keepcost")]

mallinfo = ctypes.CDLL(None).mallinfo
mallinfo.restype = Mallinfo
gibibytes = itertools.count(1)

def kept():
    "Whether a new tensor's memory would be kept: it is not mapped on its own."
    # Larger than any before, so that it fits into no gap; nothing is written to it.
    blocks = mallinfo().hblks
    tensor = torch.empty(next(gibibytes) << 30, dtype=torch.uint8)
    return mallinfo().hblks == blocks

def pages():
    "Pages the system had to map for a tensor of 100 MiB."
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(25 << 20).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1])

def say(**found):
    print(json.dumps(found))
"""


def told(script: str, **environment: str) -> dict:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script],
        env=kept | environment,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


def test_what_is_freed_inside_is_used_again_and_given_back_at_the_end():
    found = told(
        """
def fewest():
    # Small objects between the tensors' places take some rounds to settle.
    return min(pages() for _ in range(10))

before, start = fewest(), resident()
with keeping_freed_memory(cpu):
    inside, held = fewest(), resident() - start
say(before=before, inside=inside, held=held, rest=resident() - start, after=kept())
"""
    )
    assert found["before"] >= PAGES // 2
    assert found["inside"] < PAGES // 20
    assert found["held"] >= PAGES // 2
    assert found["rest"] < PAGES // 10
    assert not found["after"]


@pytest.mark.parametrize("error", ["ValueError", "KeyboardInterrupt"])
def test_blocks_within_blocks_end_with_the_outermost_whatever_happens(error):
    found = told(
        f"""
try:
    with keeping_freed_memory(cpu):
        with keeping_freed_memory(cpu):
            pass
        inside = kept()
        raise {error}
except {error}:
    after = kept()
with keeping_freed_memory(cpu):
    again = kept()
say(inside=inside, after=after, again=again)
"""
    )
    assert found == {"inside": True, "after": False, "again": True}


def test_the_last_of_several_threads_ends_it():
    found = told(
        """
entered, leave = threading.Barrier(3), threading.Event()

def work():
    with keeping_freed_memory(cpu):
        entered.wait()
        leave.wait()

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
entered.wait()
with keeping_freed_memory(cpu):
    pass
inside = kept()
leave.set()
for thread in threads:
    thread.join()
say(inside=inside, after=kept())
"""
    )
    assert found == {"inside": True, "after": False}


@pytest.mark.parametrize(
    "settings",
    [
        {"MALLOC_MMAP_THRESHOLD_": "65536"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"},
    ],
)
def test_settings_of_the_environment_stand(settings):
    script = "with keeping_freed_memory(cpu):\n    say(inside=kept())"
    assert told(script, **settings) == {"inside": False}
    assert told(script) == {"inside": True}


def test_a_model_elsewhere_changes_nothing():
    script = 'with keeping_freed_memory(torch.device("meta")):\n    say(inside=kept())'
    assert told(script) == {"inside": False}


def test_another_malloc_is_left_alone():
    # One that was loaded before the C library's own has another address.
    found = told(
        """
from nbcorr.network import allocator
addresses = itertools.count()
allocator._address = lambda function: next(addresses)
with keeping_freed_memory(cpu):
    say(inside=kept())
"""
    )
    assert found == {"inside": False}

"""A fresh IPython shell with the extension, a small trained model and real digits in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import xarray as xr
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from sklearn.datasets import load_digits
from torch import nn
from traitlets.config import Config

import nbcorr as nc


class Ran(NamedTuple):
    """What a cell printed, showed and gave."""

    out: str
    err: str
    shown: list[Any]
    value: Any
    error: BaseException | None

    @property
    def line(self) -> str:
        """The Python line that was printed."""
        (line,) = [line for line in self.out.splitlines() if re.match(r"\w+ = nc\.\w+\(", line)]
        return line


class Shell:
    """An interactive shell driven cell by cell."""

    def __init__(self, ip: InteractiveShell):
        self.ip, self.ns = ip, ip.user_ns

    def run(self, cell: str) -> Ran:
        with capture_output() as captured:
            result = self.ip.run_cell(cell)
        error = result.error_in_exec or result.error_before_exec
        out, err = _as_seen(captured.stdout), _as_seen(captured.stderr)
        return Ran(out, err, captured.outputs, result.result, error)

    def ok(self, cell: str) -> Ran:
        ran = self.run(cell)
        assert ran.error is None, ran.err + ran.out
        return ran

    def refused(self, cell: str) -> str:
        """The one line a cell is refused with."""
        ran = self.run(cell)
        assert "Traceback" not in ran.out + ran.err
        assert ran.out == ""
        lines = ran.err.strip().splitlines()
        assert len(lines) == 1, ran.err
        assert lines[0].startswith("UsageError: ")
        return lines[0].removeprefix("UsageError: ")

    def assert_line_gives_the_same(self, ran: Ran) -> None:
        target = ran.line.split(" = ")[0]
        again = {**self.ns, "nc": nc}
        exec(ran.line, again)
        assert again[target] is not self.ns[target]
        if isinstance(self.ns[target], xr.Dataset):
            # Pictures are made once, and kept.
            first, second = (ns[target].assign_attrs(runs_on="") for ns in (self.ns, again))
            xr.testing.assert_identical(second, first)
        else:
            assert repr(again[target]) == repr(self.ns[target])


def _as_seen(text: str) -> str:
    """Without colours, and without the progress bars that were written over."""
    return re.sub(r"\x1b\[[\d;]*m|[^\n]*\r", "", text)


class Digits(nn.Module):
    """A convnet for 8 x 8 digits; ``act`` runs twice in a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.hidden = nn.Linear(6 * 16, 8)
        self.act = nn.ReLU()
        self.out = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.features(x), 2).flatten(1)
        return self.out(self.act(self.hidden(self.act(x))))


def ink(images: torch.Tensor) -> torch.Tensor:
    """A poor heuristic for the digit: how much ink there is."""
    return (images.flatten(1).mean(1) * 30).long() % 10


@pytest.fixture(scope="session")
def trained() -> dict[str, torch.Tensor]:
    digits = load_digits()
    x, y = torch.tensor(digits.images[:, None] / 16).float(), torch.tensor(digits.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Digits()
        optimizer = torch.optim.Adam(net.parameters(), 0.02)
        for _ in range(30):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net.eval().state_dict()


@pytest.fixture
def shell(trained) -> Iterator[Shell]:
    if InteractiveShell.initialized():
        InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    ip = InteractiveShell.instance(config=config)
    ip.Completer.use_jedi = False
    ip.user_ns["model"] = Digits()
    ip.user_ns["model"].load_state_dict(trained)
    digits = load_digits()
    images = (digits.images[:200, None] / 16).astype(np.float32)
    ip.user_ns.update(digits=(images, digits.target[:200]), heuristic=ink)
    shell = Shell(ip)
    shell.ok("%load_ext nbcorr")
    yield shell
    InteractiveShell.clear_instance()


@pytest.fixture
def attached(shell: Shell) -> Shell:
    shell.ok("%neurcorr attach model --data digits --baseline heuristic")
    return shell


@pytest.fixture
def recorded(attached: Shell) -> Shell:
    attached.ok("%neurcorr record --twins 2;")
    attached.ok("%neurcorr correlate;")
    return attached

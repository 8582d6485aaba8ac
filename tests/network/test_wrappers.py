"""Compiled models and those spread over devices are looked into as the plain model they hold."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import nbcorr as nc
from nbcorr.network.hooks import captured, inference
from nbcorr.network.layers import is_explicit, resolve_layers
from nbcorr.network.twins import untrained_twin
from nbcorr.network.wrappers import eager, named_modules, submodule, unwrapped
from tests.conftest import assert_same_traces, traces


def whole(net, backend):
    return torch.compile(net, backend=backend)


def in_place(net, backend):
    net.compile(backend=backend)
    return net


def one_layer(net, backend):
    net.hidden = torch.compile(net.hidden, backend=backend)
    return net


def one_layer_in_place(net, backend):
    net.conv2.compile(backend=backend)
    return net


def only_forward(net, backend):
    net.forward = torch.compile(net.forward, backend=backend)
    return net


def parallel(net, backend):
    return nn.DataParallel(net)


def parallel_layer(net, backend):
    net.conv2 = nn.DataParallel(net.conv2)
    return net


def compiled_parallel(net, backend):
    return torch.compile(nn.DataParallel(torch.compile(net, backend=backend)), backend=backend)


@pytest.fixture(
    params=[
        *((wrap, "eager") for wrap in (whole, in_place, one_layer, one_layer_in_place)),
        *((wrap, "aot_eager") for wrap in (whole, in_place, one_layer, one_layer_in_place)),
        (only_forward, "eager"),
        (parallel, ""),
        (parallel_layer, ""),
        (compiled_parallel, "eager"),
    ],
    ids=lambda made: f"{made[0].__name__}-{made[1]}",
)
def wrapped(request, model, images):
    """A copy of the model in its wrapper, which has run: what was compiled knows of no hooks."""
    torch.compiler.reset()
    wrap, backend = request.param
    made = wrap(copy.deepcopy(model), backend).eval()
    with torch.no_grad():
        made(torch.tensor(images))
    return made


NAMES = ["conv1", "norm", "conv2", "act", "hidden", "relu", "out", "unused"]


def test_layers_have_the_names_of_the_plain_model(wrapped, model):
    assert resolve_layers(wrapped, "all") == NAMES
    assert resolve_layers(wrapped, "Conv2d") == ["conv1", "conv2"]
    assert [name for name, _ in named_modules(wrapped)] == [n for n, _ in model.named_modules()]
    for name in NAMES:
        assert type(submodule(wrapped, name)) is type(model.get_submodule(name))


def test_names_with_a_wrapper_in_them_are_accepted(wrapped):
    for name, _ in wrapped.named_modules():
        plain = name.replace("_orig_mod", "").replace("module", "").replace("..", ".").strip(".")
        if plain:
            assert resolve_layers(wrapped, name) == [plain]
            assert is_explicit(wrapped, [name]) == {plain}
            assert submodule(wrapped, name) is submodule(wrapped, plain)


def test_hooks_are_called_and_see_what_the_plain_model_gives(wrapped, model, images):
    def seen(net):
        found = []
        names = [name for name in NAMES if name != "unused"]
        keep = {n: (lambda out, c, _, n=n: found.append((n, c, out.clone()))) for n in names}
        with inference(net), captured(net, keep):
            output = net(torch.tensor(images))
        return [*found, ("model", 0, output)]

    before = traces(wrapped)
    for (name, call, got), (*place, expected) in zip(seen(wrapped), seen(model), strict=True):
        assert [name, call] == place
        assert torch.equal(got, expected)
    assert_same_traces(before, traces(wrapped))


def test_a_replaced_output_reaches_what_follows(wrapped, images):
    x = torch.tensor(images[:3])
    with inference(wrapped), captured(wrapped, {"hidden": lambda out, *_: out * 0}):
        off = wrapped(x)
    assert torch.allclose(off, submodule(wrapped, "out").bias.expand_as(off))
    with inference(wrapped):
        assert not torch.allclose(wrapped(x), off)


def test_the_table_of_layers_is_that_of_the_plain_model(wrapped, model, images):
    assert nc.layers(wrapped, images).identical(nc.layers(model, images))


def test_twins_are_those_of_the_plain_model(wrapped, model):
    twin, expected = untrained_twin(wrapped, 3), untrained_twin(model, 3)
    for name, module in named_modules(twin):
        for part, values in module.named_parameters(recurse=False):
            assert torch.equal(values, expected.get_submodule(name).get_parameter(part))


def test_recordings_are_those_of_the_plain_model(wrapped, model, images, labels):
    before = traces(wrapped)
    got = nc.record(wrapped, (images, labels), "all", twins=1, progress=False)
    expected = nc.record(model, (images, labels), "all", twins=1, progress=False)
    assert_same_traces(before, traces(wrapped))
    xr.testing.assert_equal(got, expected)
    assert got.attrs["model"] == "Reusing"
    if list(unwrapped(wrapped).state_dict()) == list(model.state_dict()):
        assert got.attrs == expected.attrs


def test_exemplars_are_those_of_the_plain_model(wrapped, model, images):
    got = nc.exemplars(wrapped, images, ["act#2:1", "hidden:3"], k=3, progress=False)
    expected = nc.exemplars(model, images, ["act#2:1", "hidden:3"], k=3, progress=False)
    xr.testing.assert_equal(got, expected)


def test_neurons_of_a_wrapped_model_are_switched_off(wrapped, model, images):
    x = torch.tensor(images[:5])
    model.eval()
    neurons = ["conv1:2", "act#2:5", "hidden:0", "hidden:11"]
    with torch.no_grad(), nc.ablate(model, neurons):
        expected = model(x)
    with torch.no_grad(), nc.ablate(wrapped, neurons) as off:
        assert off is wrapped
        assert torch.equal(off(x), expected)
    with torch.no_grad():
        assert not torch.allclose(wrapped(x), expected)


def test_images_are_made_for_a_wrapped_model(wrapped, model):
    quick = {"steps": 2, "progress": False}
    got = nc.visualize(wrapped, "act#2:1", (1, 8, 8), **quick)
    np.testing.assert_array_equal(
        got["image"], nc.visualize(model.eval(), "act#2:1", (1, 8, 8), **quick)["image"]
    )


def test_what_was_compiled_is_compiled_again_after_the_block():
    """Eagerness is torch's own setting, of all threads: the last block to end puts it back."""
    torch.compiler.reset()
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph.forward

    net = torch.compile(nn.Linear(2, 2), backend=backend)
    entered, leave = threading.Event(), threading.Event()

    def another():
        with eager():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=another)
    with eager():
        thread.start()
        entered.wait()
    net(torch.ones(1, 2))
    assert compiled == []
    leave.set()
    thread.join()
    net(torch.ones(1, 2))
    assert len(compiled) == 1


def test_a_stance_of_the_users_comes_back_after_an_error():
    torch.compiler.reset()
    net = torch.compile(nn.Linear(2, 2), backend="eager")
    with torch.compiler.set_stance("fail_on_recompile"):
        with eager():
            net(torch.ones(1, 2))
        with pytest.raises(KeyboardInterrupt), eager():
            raise KeyboardInterrupt
        with pytest.raises(RuntimeError, match="fail_on_recompile"):
            net(torch.ones(1, 2))


def exported_program():
    return torch.export.export(nn.Sequential(nn.Linear(2, 2)), (torch.ones(1, 2),))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: torch.jit.script(nn.Sequential(nn.Linear(2, 2))), "RecursiveScriptModule"),
        (lambda: torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), "TopLevelTracedModule"),
        (lambda: exported_program().module(), "GraphModule"),
        (exported_program, "ExportedProgram"),
        (lambda: len, "builtin_function_or_method"),
    ],
)
def test_what_torch_cannot_hook_is_refused(make, found):
    made = make()
    for look in (unwrapped, nc.layers, lambda m: nc.record(m, np.ones((1, 2)), progress=False)):
        with pytest.raises(
            TypeError, match=f"model is a {found}.*; expected (a|the) torch.nn.Module"
        ):
            look(made)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("frozen", [False, True])
def test_a_scripted_part_is_left_out_and_refused_by_name(frozen):
    part = torch.jit.script(nn.Sequential(nn.Linear(2, 3), nn.ReLU()).eval())
    net = nn.Sequential(torch.jit.freeze(part) if frozen else part, nn.Linear(3, 2))
    assert nc.record(net, np.ones((4, 2)), "all", progress=False).attrs["layers"] == ["1"]
    with pytest.raises(TypeError, match="layer '0' is a RecursiveScriptModule, which torch runs"):
        nc.record(net, np.ones((4, 2)), "0", progress=False)
    with pytest.raises(ValueError, match=r"no layer '0\.0'; did you mean '0'"):
        nc.record(net, np.ones((4, 2)), "0.0", progress=False)

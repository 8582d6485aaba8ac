"""The real Lucent gives what it gives, and leaves nothing behind that it usually leaves."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nbcorr.visualization import lucent, objectives
from nbcorr.visualization.lucent import render_lucent
from tests.visualization.nets import Reused, assert_untouched, reused, state

SHAPE = (3, 8, 8)
LIBRARY = lucent.imported()


def render(model: nn.Module, objective, **options) -> np.ndarray:
    return render_lucent(model, objective, **{"shape": SHAPE, "steps": 4, **options}).images


def random_states() -> list:
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return [torch.get_rng_state().tolist(), name, keys.tolist(), rest, random.getstate()]


def raising(model: nn.Module, error: BaseException, at: int) -> torch.utils.hooks.RemovableHandle:
    """Make the model raise in its n-th forward pass, counted from 1."""
    passes = iter(range(1, 1_000_000))

    def hook(*_: object) -> None:
        if next(passes) == at:
            raise error

    return model.conv2.register_forward_hook(hook)


# The real library


@pytest.mark.parametrize("transforms", ["robust", "none"])
@pytest.mark.parametrize("fft", [True, False])
def test_it_is_the_library_itself(transforms, fft):
    model = reused()
    pictures = render(
        model,
        "conv2:1",
        transforms=transforms,
        parametrization="fourier" if fft else "pixel",
        preprocess=lambda images: 2 * images - 1,
        seed=7,
    )
    theirs_model = Reused().eval()
    theirs_model.load_state_dict(model.state_dict())
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    theirs = LIBRARY.render.render_vis(
        theirs_model,
        "conv2:1",
        param_f=lambda: LIBRARY.param.image(8, 8, fft=fft),
        transforms=[
            *(LIBRARY.transform.standard_transforms if transforms == "robust" else []),
            lambda images: 2 * images - 1,
        ],
        thresholds=(4,),
        preprocess=False,
        progress=False,
        show_image=False,
        fixed_image_size=(8, 8),
    )
    np.testing.assert_array_equal(pictures, theirs[0])


def test_pictures_drive_their_neuron():
    few, many = (response(reused(), render_driven(steps)) for steps in (1, 60))
    assert many > 1.2 * few > 0


def render_driven(steps: int) -> np.ndarray:
    return render(reused(), "conv2:6", transforms="none", learning_rate=0.2, steps=steps)


def response(model: nn.Module, picture: np.ndarray) -> float:
    model.eval()
    images = torch.tensor(picture).permute(0, 3, 1, 2)
    with torch.no_grad():
        hidden = model.act(model.norm(model.conv1(images)))
        return float(model.conv2(hidden)[:, 6].mean())


@pytest.mark.parametrize("shape", [(1, 8, 8), (6, 9, 13), (3, 32, 16)])
@pytest.mark.parametrize("parametrization", ["fourier", "pixel"])
@pytest.mark.parametrize("transforms", ["robust", "crop", "none"])
def test_any_channels_and_sizes(shape, parametrization, transforms):
    model = reused(shape[0])
    pictures = render(
        model, "conv2:0", shape=shape, parametrization=parametrization, transforms=transforms
    )
    assert pictures.shape == (1, *shape[1:], shape[0])
    assert pictures.dtype == np.float32
    assert 0 <= pictures.min() <= pictures.max() <= 1


def test_a_painting_network_and_several_pictures():
    assert render(reused(), "conv2:0", parametrization="cppn").shape == (1, 8, 8, 3)
    several = render(
        reused(),
        LIBRARY.objectives.channel("conv2", 1) - 1e-2 * LIBRARY.objectives.diversity("conv2"),
        batch=3,
    )
    assert several.shape == (3, 8, 8, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    assert np.isfinite(render(reused().to(dtype), "conv2:0")).all()


def test_the_model_sees_the_size_asked_for():
    model, seen = reused(), []
    model.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    render(model, "conv2:0")
    assert set(seen) == {(1, 3, 8, 8)}


# Objectives


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x)


def test_all_ways_to_name_a_channel_are_one():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Nested()
    pictures = [
        render(model, objective, transforms="none")
        for objective in (
            "features.2:3",
            "features_2:3",
            ("features.2", 3),
            LIBRARY.objectives.channel("features_2", 3),
            lambda output: -output("features_2")[:, 3].mean(),
            objectives.channel("features.2", 3),
        )
    ]
    for other in pictures[1:]:
        np.testing.assert_allclose(other, pictures[0], atol=1e-6)
    composed = render(
        model,
        2 * objectives.channel("features.2", 3) - 0.5 * objectives.total_variation(),
        transforms="none",
    )
    assert abs(composed - pictures[0]).max() > 1e-4


# What it leaves behind


def test_after_success(monkeypatch):
    monkeypatch.setattr(Image.Image, "show", lambda *_: pytest.fail("a window was opened"))
    model, states = reused(), random_states()
    before = state(model)
    devices = [vars(module).copy() for module in LIBRARY.of_one_device]
    render(model, "conv2:0")
    assert_untouched(model, before)
    assert random_states() == states
    assert all(vars(m) == d for m, d in zip(LIBRARY.of_one_device, devices, strict=True))


@pytest.mark.parametrize("at", [1, 3])
def test_after_an_error(at):
    model, states = reused(), random_states()
    raising(model, ArithmeticError("from the model"), at)
    before = state(model)
    with pytest.raises(ArithmeticError, match="from the model"):
        render(model, "conv2:0")
    assert_untouched(model, before)
    assert random_states() == states


def test_ctrl_c_gives_the_picture_so_far():
    model = reused()
    raising(model, KeyboardInterrupt(), 4)
    before = state(model)
    pictures = render_lucent(model, "conv2:0", shape=SHAPE, steps=10)
    assert_untouched(model, before)
    assert pictures.steps == 3
    np.testing.assert_array_equal(pictures.images, render(reused(), "conv2:0", steps=3))


def test_ctrl_c_before_anything_was_made_is_passed_on():
    model = reused()
    raising(model, KeyboardInterrupt(), 1)
    before = state(model)
    with pytest.raises(KeyboardInterrupt):
        render(model, "conv2:0")
    assert_untouched(model, before)


def test_same_seed_same_picture_whatever_was_drawn_before():
    first = render(reused(), "conv2:0", seed=3)
    np.random.rand(5)  # noqa: NPY002
    torch.rand(5)
    np.testing.assert_array_equal(render(reused(), "conv2:0", seed=3), first)
    assert abs(render(reused(), "conv2:0", seed=4) - first).max() > 1e-3


def test_every_step_is_told():
    told = []
    pictures = render_lucent(
        reused(), "conv2:0", shape=SHAPE, steps=5, advance=lambda: told.append(1)
    )
    assert (len(told), pictures.steps) == (5, 5)


def test_nothing_is_said_where_all_is_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render(reused(), "conv2:0")


# Errors


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        ("conv3:0", {}, "no layer 'conv3'; did you mean 'conv"),
        ("conv2:8", {}, "Lucent fails on conv2:8: index 8 is out of bounds"),
        ("never:0", {}, "Lucent fails on never:0: There are no saved feature maps"),
        ("conv2:0", {"preprocess": lambda x: {"x": x}}, "preprocess gave dict; expected a tensor"),
        ("conv2:0", {"parametrization": "maco"}, "no parametrization of Lucent 'maco'"),
        ("conv2:0", {"transforms": "robut"}, "no transforms 'robut'; did you mean 'robust'"),
        ("conv2:0", {"parametrization": "cppn", "shape": (3, 8, 9)}, "one square picture"),
        (objectives.channel("act#2", 0), {}, "reads 'act#2'; Lucent sees the last call"),
    ],
)
def test_what_it_cannot_do(objective, options, message):
    model = reused()
    before = state(model)
    with pytest.raises(ValueError, match=message):
        render(model, objective, **options)
    assert_untouched(model, before)


def test_an_error_of_the_model_is_not_swallowed():
    """It says that the model should be in eval mode; the reason is that it has six channels."""
    with pytest.raises(ValueError, match=r"expected input.* to have 6 channels, but got 3"):
        render(reused(6), "conv2:0")


def test_an_error_after_the_layer_is_told():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 9))
    with pytest.warns(UserWarning, match="size of the image is not big enough"):
        assert np.isfinite(render(model, "1:0")).all()


def test_a_picture_that_is_lost_is_named():
    with pytest.raises(ValueError, match="picture of conv2:0 is not finite after 4 steps"):
        render(reused(), "conv2:0", preprocess=lambda images: images * float("nan"))


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.mark.parametrize("missing", ["lucent", "kornia", "torchvision"])
def test_where_it_is_not_installed(missing):
    shown = python(
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from nbcorr.visualization.lucent import imported\n"
        "try: imported()\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    assert "engine='lucent' needs the package" in shown
    assert missing in shown
    assert shown.endswith('pip install "nbcorr[lucent]"')


def test_torchvision_beside_any_torch():
    shown = python(
        "import torch\n"
        "from nbcorr.visualization.torchvision_import import import_torchvision\n"
        "first, again = import_torchvision(), import_torchvision()\n"
        "import torchvision\n"
        "print(first is again is torchvision)\n"
        "net = torchvision.models.squeezenet1_1(num_classes=4).eval()\n"
        "print(tuple(net(torch.rand(1, 3, 32, 32)).shape))"
    )
    assert shown.splitlines() == ["True", "(1, 4)"]

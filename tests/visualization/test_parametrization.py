"""What holds of every parametrisation: ranges, seeds, pictures that never mix, sizes, errors."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from nbcorr.visualization.parametrization import PARAMETRIZATIONS, Parametrization, parametrization

CPU = torch.device("cpu")
SHAPES = [(3, 8, 8), (1, 9, 7), (6, 8, 13), (2, 1, 1), (3, 7, 1), (4, 1, 6), (3, 64, 48)]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lively(of: Parametrization, count: int) -> torch.Tensor:
    """Numbers of pictures that are far from grey."""
    stack = torch.stack([of.start(seeded(seed)) for seed in range(count)])
    return stack + 0.5 * torch.randn(stack.shape, generator=seeded(99))


@pytest.fixture(params=PARAMETRIZATIONS)
def name(request) -> str:
    return request.param


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_any_size_and_channels_are_in_range(name, shape, alpha):
    of = parametrization(name, shape, CPU, alpha=alpha)
    assert (of.shape, of.device, of.alpha) == (shape, CPU, alpha)
    images = of.image(lively(of, 2))
    assert images.shape == (2, shape[0] + alpha, *shape[1:])
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std() > 0.01


def test_the_start_is_that_of_the_seed(name):
    of = parametrization(name, (3, 16, 16), CPU)
    before = torch.get_rng_state()
    first, again, other = (of.start(seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_only_phases_do_not_start_grey(name):
    of = parametrization(name, (3, 32, 32), CPU)
    image = of.image(of.start(seeded(0))[None])
    assert (abs(image - 0.5).max() < 0.1) == (name != "maco")


@pytest.mark.parametrize("alpha", [False, True])
def test_pictures_never_mix(name, alpha):
    of = parametrization(name, (3, 8, 9), CPU, alpha=alpha)
    stack = lively(of, 3).requires_grad_()
    together = of.image(stack)
    alone = torch.cat([of.image(numbers[None]) for numbers in stack])
    torch.testing.assert_close(together, alone)
    together[1].square().sum().backward()
    moved = stack.grad.flatten(1).abs().amax(1)
    assert moved[0] == moved[2] == 0
    assert moved[1] > 0
    assert stack.grad.isfinite().all()


@pytest.mark.parametrize("alpha", [False, True])
def test_any_of_its_images_can_be_painted(name, alpha):
    """Gradient ascent finds a picture of another seed again, or comes much closer to it.

    Phases and small networks have many optima: these come closer.
    """
    of = parametrization(name, (3, 8, 8), CPU, alpha=alpha)
    wanted = of.image(lively(of, 2)[1:]).detach()
    numbers = of.start(seeded(5))[None].requires_grad_()
    adam = torch.optim.Adam([numbers], lr=of.learning_rate)
    distances = []
    for _ in range(300):
        distance = (of.image(numbers) - wanted).square().mean()
        distances.append(float(distance.detach()))
        (numbers.grad,) = torch.autograd.grad(distance, numbers)
        adam.step()
    assert (
        distances[-1]
        < {"fourier": 0.02, "pixel": 0.02, "maco": 0.6, "cppn": 0.6}[name] * (distances[0])
    )


def test_alpha_is_not_mixed_with_the_colours(name):
    of = parametrization(name, (3, 8, 8), CPU, alpha=True)
    colours = np.diag([1.0, 0.5, 0.25])
    other = parametrization(name, (3, 8, 8), CPU, alpha=True, colours=colours)
    stack = lively(of, 1)
    torch.testing.assert_close(of.image(stack)[:, 3], other.image(stack)[:, 3])
    assert not torch.allclose(of.image(stack)[:, :3], other.image(stack)[:, :3])


def test_learnt_colours_rule_all_images(name):
    """Channels that are said to be equal up to their sign are."""
    root = np.array([[1.0, 0.0], [-1.0, 0.0]])
    of = parametrization(name, (2, 8, 8), CPU, colours=root)
    image = of.image(lively(of, 1))[0]
    torch.testing.assert_close(image[0], 1 - image[1])


def test_they_can_be_copied(name):
    of = parametrization(name, (3, 8, 8), CPU)
    stack = lively(of, 1)
    assert torch.equal(copy.deepcopy(of).image(stack), of.image(stack))


@pytest.mark.parametrize("alpha", [False, True])
def test_pixels_are_the_image_in_principal_colours(alpha):
    of = parametrization("pixel", (3, 4, 5), CPU, alpha=alpha)
    stack = lively(of, 2)
    root = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
    root = root / max(np.sqrt((column**2).sum()) for column in root.T)
    image = of.image(stack).numpy()
    for n, row, column in np.ndindex(2, 4, 5):
        numbers = stack[n, :, row, column].numpy()
        logits = [sum(root[d, c] * numbers[c] for c in range(3)) for d in range(3)]
        expected = 1 / (1 + np.exp(-np.array([*logits, *numbers[3:]])))
        np.testing.assert_allclose(image[n, :, row, column], expected, rtol=1e-5)


def test_a_name_that_does_not_exist():
    with pytest.raises(ValueError, match="no parametrization 'furier'; did you mean 'fourier'"):
        parametrization("furier", (3, 8, 8), CPU)


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("fourier", (8, 8), {}, r"shape is \(8, 8\); expected \(channels, height, width\) or"),
        ("fourier", (3, 8, 8), {"bounds": (0, 1)}, "bounds are for vectors"),
        ("maco", (8,), {}, "'maco' is for images"),
        ("fourier", (8,), {"alpha": True}, "alpha is for images"),
        ("fourier", (8,), {"colours": np.eye(8)}, "colours is for images"),
        ("pixel", (8,), {"magnitude": np.ones((1, 8, 5))}, "magnitude is for images"),
        ("pixel", (3, 8, 8), {"colours": np.eye(2)}, r"shape \(2, 2\); expected \(3, 3\)"),
        ("cppn", (2, 8, 8), {"colours": np.zeros((2, 2))}, "zero or not finite"),
        ("maco", (2, 8, 8), {"colours": np.full((2, 2), np.nan)}, "zero or not finite"),
        ("maco", (3, 8, 8), {"magnitude": np.ones((2, 8, 5))}, r"expected \(3, rows, columns\)"),
    ],
)
def test_arguments_that_do_not_fit(name, shape, options, message):
    with pytest.raises(ValueError, match=message):
        parametrization(name, shape, CPU, **options)

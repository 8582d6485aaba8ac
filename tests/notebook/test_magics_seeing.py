"""``%neurcorr dictionary``, ``groups``, ``atlas`` and ``responses``: lines and what they give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from nbcorr.notebook.commands.calls import Ref
from nbcorr.notebook.commands.seeing import sample_of
from tests.notebook.shells import attached, recorded, shell, trained

__all__ = ["attached", "recorded", "shell", "trained"]


def written(ran) -> str:
    """The line that was printed, without the import it needs the first time."""
    return ran.line.removesuffix("  # import nbcorr as nc")


def test_dictionary_of_a_sample_of_the_attached_data(attached):
    attached.ok("%neurcorr render features.2:0 features.2:1 --steps 1;")
    ran = attached.ok("%neurcorr dictionary features.2 --sample 3 -k 2")
    assert written(ran) == (
        'dictionary = nc.SemanticDictionary(model, digits[0][3], "features.2", '
        "pictures=visualizations, k=2)"
    )
    assert ran.value.dictionary.sizes["rank"] == 2
    exec(ran.line, again := {**attached.ns, "nc": __import__("nbcorr")})
    xr.testing.assert_identical(again["dictionary"].dictionary, ran.value.dictionary)


def test_dictionary_of_what_contributes_to_a_class(attached):
    attached.ns["picture"] = attached.ns["digits"][0][5]
    ran = attached.ok("%neurcorr dictionary features.2 --image picture --target 3 5")
    assert written(ran) == (
        'dictionary = nc.SemanticDictionary(model, picture, "features.2", target=(3, 5), '
        'of="attribution")'
    )
    assert "attribution" in ran.value.dictionary


def test_groups(attached):
    ran = attached.ok("%neurcorr groups features.2 --sample 1 -k 3 --target 4 --name found")
    assert written(ran) == (
        'found = nc.NeuronGroups(model, digits[0][1], "features.2", k=3, target=4)'
    )
    assert ran.value is attached.ns["found"]


def test_atlas_is_a_dataset_and_shown_as_a_map(attached):
    line = "%neurcorr atlas features.2 --grid 2 --steps 1 --projection pca --seed 1"
    ran = attached.ok(line)
    assert written(ran) == (
        'atlas = nc.activation_atlas(model, digits, "features.2", grid=2, steps=1, '
        'projection="pca", seed=1)'
    )
    assert attached.ns["atlas"]["picture"].shape == (2, 2)
    assert ran.shown
    attached.assert_line_gives_the_same(ran)


def test_responses_beside_what_was_recorded(recorded):
    ran = recorded.ok("%neurcorr responses --sample 2 --layers features.2")
    assert written(ran) == (
        'responses = nc.responses(model, digits[0][2], layers="features.2", recording=recording)'
    )
    assert "percentile" in ran.out
    recorded.assert_line_gives_the_same(ran)


IMAGES = np.arange(8.0).reshape(2, 1, 2, 2)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (IMAGES, "data[1]"),
        (torch.tensor(IMAGES), "data[1]"),
        ((IMAGES, [0, 1]), "data[0][1]"),
        (xr.Dataset({"image": (tuple("scyx"), IMAGES)}), 'data["image"].values[1]'),
        (torch.utils.data.TensorDataset(torch.tensor(IMAGES), torch.arange(2)), "data[1][0]"),
    ],
    ids=["array", "tensor", "labelled", "dataset", "torch"],
)
def test_the_expression_of_a_sample_gives_it(data, text):
    found = sample_of(Ref("data", data), 1)
    assert found.text == text
    np.testing.assert_array_equal(found.value, IMAGES[1])
    np.testing.assert_array_equal(eval(text, {"data": data}), IMAGES[1])


def test_a_sample_that_is_not_there(attached):
    said = attached.refused("%neurcorr dictionary features.2 --sample 500")
    assert said == "--sample is 500; digits[0] has samples 0 to 199"


def test_data_that_cannot_be_indexed(shell):
    images, _ = shell.ns["digits"]
    shell.ns["stream"] = iter([images[:20]])
    shell.ok("%neurcorr attach model --data stream")
    said = shell.refused("%neurcorr groups features.2")
    assert "has no samples by number; expected --image" in said

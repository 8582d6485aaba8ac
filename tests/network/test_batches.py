from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader, TensorDataset

from nbcorr.network.batches import batches, count_samples, some_batches

X = np.arange(10, dtype=np.float32).reshape(5, 2)
Y = np.arange(5)
IDS = np.array(list("abcde"))


def labelled_images() -> xr.Dataset:
    return xr.Dataset(
        {"image": (("sample", "channel", "y", "x"), np.zeros((5, 1, 2, 2), np.float32))},
        coords={"sample": IDS, "label": ("sample", Y), "site": ("sample", Y * 10)},
    )


def collected(data, size=2):
    parts = list(batches(data, size))
    label = None if parts[0].label is None else np.concatenate([p.label for p in parts])
    ids = None if parts[0].sample is None else np.concatenate([p.sample for p in parts])
    return [len(p) for p in parts], label, ids


@pytest.mark.parametrize("data", [X, torch.tensor(X), xr.DataArray(X)])
def test_arrays(data):
    assert collected(data) == ([2, 2, 1], None, None)
    assert count_samples(data) == 5


def test_columns_and_ids():
    sizes, label, ids = collected((X, Y, IDS))
    assert (sizes, label.tolist(), ids.tolist()) == ([2, 2, 1], Y.tolist(), IDS.tolist())
    assert count_samples((X, Y)) == 5


def test_labelled_images_bring_their_columns():
    part = next(batches(labelled_images(), 3))
    assert part.inputs.shape == (3, 1, 2, 2)
    assert part.columns["site"].tolist() == [0, 10, 20]
    assert part.sample.tolist() == ["a", "b", "c"]


def test_torch_datasets_and_loaders():
    dataset = TensorDataset(torch.tensor(X), torch.tensor(Y))
    assert collected(dataset)[1].tolist() == Y.tolist()
    loader = DataLoader(dataset, batch_size=4)
    assert collected(loader)[0] == [4, 1]
    assert count_samples(loader) == 5
    assert count_samples(DataLoader(dataset, batch_size=4, drop_last=True)) is None


def test_generators_and_dict_batches():
    assert collected(torch.tensor(X[i : i + 2]) for i in (0, 2))[0] == [2, 2]
    batch = next(batches([{"input_ids": torch.tensor(X), "labels": torch.tensor(Y)}]))
    assert batch.label.tolist() == Y.tolist()
    assert list(batch.inputs) == ["input_ids"]


def test_dtype_and_device_follow_the_model():
    batch = next(batches(X.astype(np.float64))).to(torch.device("cpu"), torch.float32)
    assert batch.inputs.dtype == torch.float32
    tokens = next(batches(np.arange(6).reshape(3, 2))).to(torch.device("cpu"), torch.float32)
    assert tokens.inputs.dtype == torch.int64


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "data is a int; expected an array"),
        (xr.Dataset({"picture": ("sample", Y)}), "expected labelled images"),
        ([(torch.tensor(X), torch.tensor(Y[:3]))], r"labels of shape \(3,\); expected \(5,\)"),
        ([(X, Y, IDS, Y)], "a batch has 4 parts"),
        ([["text", "more"]], "no array; expected numbers"),
    ],
)
def test_bad_data_is_named(data, message):
    with pytest.raises((TypeError, ValueError), match=message):
        list(batches(data))


def test_an_input_called_ids_is_no_sample_id():
    batch = next(batches([{"ids": torch.zeros(5, 3, dtype=torch.long), "id": IDS}]))
    assert list(batch.inputs) == ["ids"]
    assert batch.sample.tolist() == IDS.tolist()


def test_views_that_torch_does_not_take():
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    frozen = array.copy()
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (reversed_,) = batches(array[::-1, ::-1])
        (mapped,) = batches(frozen)
    np.testing.assert_array_equal(reversed_.inputs, array[::-1, ::-1])
    np.testing.assert_array_equal(mapped.inputs, array)


def test_equal_batches_have_equal_digests():
    def one(x, y=None, ids=None):
        (batch,) = batches((x, y, ids) if ids is not None else (x, y) if y is not None else x)
        return batch.digest()

    x, y = np.ones((2, 3)), np.arange(2)
    assert one(x) == one(x.copy()) == one(torch.ones(2, 3, dtype=torch.float64))
    different = [
        one(x),
        one(x.astype(np.float32)),
        one(x + 1e-12),
        one(x.reshape(2, 3, 1)),
        one(x, y),
        one(x, y + 1),
        one(x, y, np.array(["a", "b"])),
        one(x, y, np.array(["a", "c"])),
    ]
    assert len(set(different)) == len(different)
    assert one(x, y, np.array(["a", "b"], dtype=object)) == one(x, y, np.array(["a", "b"]))


class OnDisk:
    """An array as h5py has them: no NumPy array, sliced as one, and no batch of anything."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim
        self.read = 0

    def __len__(self):
        return len(self.array)

    def __getitem__(self, part):
        self.read += len(self.array[part])
        return self.array[part]


def on_disk(kind, array, path):
    if kind == "dask":
        import dask.array

        return dask.array.from_array(array, chunks=2)
    if kind == "zarr":
        import zarr

        return zarr.create_array(path / "a.zarr", data=array)
    return OnDisk(array)


@pytest.mark.parametrize("kind", ["dask", "zarr", "other"])
def test_arrays_on_disk(kind, tmp_path):
    data = on_disk(kind, X, tmp_path)
    assert collected(data) == ([2, 2, 1], None, None)
    assert count_samples(data) == 5
    sizes, label, ids = collected((data, on_disk(kind, Y, tmp_path / "y"), IDS))
    assert (sizes, label.tolist(), ids.tolist()) == ([2, 2, 1], Y.tolist(), IDS.tolist())
    np.testing.assert_array_equal(np.concatenate([b.inputs for b in batches(data, 2)]), X)


def test_an_array_on_disk_is_looked_at_here_and_there():
    data = OnDisk(np.arange(2000.0).reshape(1000, 2))
    count, some = some_batches((data, np.arange(1000)), 10, most=4)
    some = dict(some)
    assert (count, list(some), data.read) == (100, [0, 33, 66, 99], 40)
    assert some[66].inputs[0].tolist() == [1320, 1321]
    assert some[66].label[0] == 660
    count, some = some_batches(data.array, 10, most=4)
    assert (count, list(dict(some))) == (100, list(range(100)))


@pytest.mark.parametrize(
    "data",
    [
        (X, Y[:4]),
        (torch.tensor(X), np.arange(6)),
        (X, Y, IDS[:3]),
        (X, np.eye(5)),
        (X, list("abcd")),
        (X, X),
    ],
)
def test_samples_and_labels_of_different_lengths_are_no_two_batches(data):
    with pytest.raises(ValueError, match=r"shapes \(5, 2\), .*one label.* for each.*in a list"):
        list(batches(data))


def test_batches_that_a_filter_left_empty():
    def filtered():
        for at in range(4):
            yield torch.tensor(X[: at % 2]), torch.tensor(Y[: at % 2])

    assert collected(filtered())[0] == [1, 1]
    assert collected([{"x": torch.zeros(0, 2)}, {"x": torch.zeros(3, 2)}])[0] == [3]


class Conditional(torch.nn.Module):
    """A generator that is told the class."""

    def __init__(self, optional):
        super().__init__()
        self.embed = torch.nn.Embedding(5, 2)
        if optional:
            self.forward = self.maybe

    def forward(self, z, y):
        return z + self.embed(y)

    def maybe(self, z, y=None):
        return z if y is None else self.forward(z, y)


def test_labels_that_a_model_cannot_do_without_are_its_inputs():
    model = Conditional(optional=False)
    data = [{"z": torch.tensor(X), "y": torch.tensor(Y)}]
    (batch,) = (batch.sorted_out(model) for batch in batches(data))
    assert batch.label.tolist() == Y.tolist()
    torch.testing.assert_close(batch.run(model), torch.tensor(X) + model.embed(torch.tensor(Y)))
    (batch,) = (batch.sorted_out(Conditional(optional=True)) for batch in batches(data))
    assert list(batch.inputs) == ["z"]


def test_text_beside_the_inputs_of_a_model_that_takes_anything():
    class Anything(torch.nn.Module):
        def forward(self, x, **more):
            return x

    data = [{"x": torch.tensor(X), "scale": torch.ones(5), "site": list("abcde")}]
    (batch,) = (batch.sorted_out(Anything()) for batch in batches(data))
    assert list(batch.inputs) == ["x", "scale"]
    assert batch.columns["site"].tolist() == list("abcde")

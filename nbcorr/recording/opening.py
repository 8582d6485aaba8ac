"""Recordings on disk: saved as a whole, opened lazily."""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import shutil
import uuid
from math import prod
from pathlib import Path

import numpy as np
import xarray as xr

from nbcorr.recording.flat import check_format, flatten, is_large, restore
from nbcorr.recording.group import CHUNK_VALUES, read_group, write_group
from nbcorr.recording.partial import local_path, partial_folder
from nbcorr.recording.store import read_partial

_NETCDF = ("h5netcdf", "h5py")


def open_recording(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a recording on disk lazily: its labels are read, its activations when they are needed.

    Parameters
    ----------
    path : path
        A Zarr store that ``nc.record(store=...)`` or ``nc.save_recording`` made, or a netCDF file
        of ``nc.save_recording``. A recording that was cut short is opened as far as it came, with
        ``attrs["interrupted"]`` set to 1.

    Returns
    -------
    xarray.Dataset
        As it was recorded; activations and inputs as Dask arrays, in chunks of whole neurons.

    Raises
    ------
    FileNotFoundError
        If there is nothing at the path.
    ValueError
        If what is there is no recording, is of a later format or is truncated, or the path is a
        URL.
    """
    path = local_path(path)
    if path.is_dir():
        return read_group(path)
    if path.is_file():
        return _read_netcdf(path)
    if partial_folder(path).is_dir():
        return read_partial(path)
    raise FileNotFoundError(f"there is no recording at {path}{_near(path)}")


def save_recording(recording: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Save a recording, or any Dataset over neurons, to disk.

    It is written beside the path and then renamed: there is never half a file.

    Parameters
    ----------
    recording : xarray.Dataset
        Lazy arrays are read and written block by block.
    path : path
        Ending in ``.zarr`` for a Zarr store or ``.nc`` for a netCDF file (``nbcorr[netcdf]``).

    Returns
    -------
    None
        ``nc.open_recording`` gives the same Dataset back.

    Raises
    ------
    FileExistsError
        If there is something at the path.
    ImportError
        If h5netcdf or h5py is not installed, for ``.nc``.
    ValueError
        If the path ends in neither or is a URL, or the Dataset holds what cannot be stored.
    """
    path = local_path(path)
    if path.suffix not in (".zarr", ".nc"):
        raise ValueError(f"the path is {path}; expected one ending in .zarr or .nc")
    if path.exists() or partial_folder(path).exists():
        raise FileExistsError(f"there is something at {path} already; expected a new path")
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        if path.suffix == ".zarr":
            beside.mkdir(parents=True)
            write_group(beside, recording, {})
        else:
            _write_netcdf(recording, beside)
        beside.rename(path)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        beside.unlink(missing_ok=True)


def _write_netcdf(recording: xr.Dataset, path: Path) -> None:
    _need_h5netcdf()
    variables, description = flatten(recording)
    stored = {name: _as_netcdf(variable) for name, variable in variables.items()}
    plain = xr.Dataset(stored, attrs={"nbcorr": json.dumps(description)})
    path.parent.mkdir(parents=True, exist_ok=True)
    # NaN is a number like others here, and nothing is missing.
    encoding = {name: {"_FillValue": None} for name in stored}
    plain.to_netcdf(path, engine="h5netcdf", encoding=encoding)


def _read_netcdf(path: Path) -> xr.Dataset:
    _need_h5netcdf()
    try:
        plain = xr.open_dataset(
            path, engine="h5netcdf", mask_and_scale=False, decode_times=False, decode_coords=False
        )
        description = json.loads(plain.attrs["nbcorr"])
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is no recording of nbcorr, or it is truncated ({error}); expected a file "
            "that nc.save_recording made"
        ) from None
    check_format(path, description["format"])
    return restore(
        {str(name): _lazy(variable) for name, variable in plain.variables.items()}, description
    )


def _lazy(variable: xr.Variable) -> xr.Variable:
    """What is large as a Dask array of about 32 MB a chunk, all else in memory."""
    if not is_large(variable.dims, variable.size):
        return variable.load()
    lines = max(1, 8 * CHUNK_VALUES // max(1, prod(variable.shape[-1:])))
    whole = dict.fromkeys(variable.dims, 1) | {variable.dims[-2]: lines, variable.dims[-1]: -1}
    return variable.chunk(whole)


def _as_netcdf(variable: xr.Variable) -> xr.Variable:
    """NetCDF has neither truth values nor half precision; the description tells what they were."""
    wider = {np.dtype(bool): np.uint8, np.dtype(np.float16): np.float32}.get(variable.dtype)
    return variable if wider is None else variable.astype(wider)


def _need_h5netcdf() -> None:
    missing = [name for name in _NETCDF if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f'netCDF needs {missing[0]}: pip install "nbcorr[netcdf]"')


def _near(path: Path) -> str:
    """What else there is, in words."""
    beside = [p.name for p in path.parent.glob("*") if p.suffix in (".zarr", ".nc", ".partial")]
    close = difflib.get_close_matches(path.name, [n.removesuffix(".partial") for n in beside], 1)
    return f"; did you mean {close[0]!r}?" if close else ""

"""Writers of files whose axes are described in every way: by name, unit and step, in any order.

Each takes the pixels as they are stored and one (name, unit, step) per axis; a step of None leaves
the axis without one.
"""

import h5py
import numpy as np
import zarr

MOVIE = {"t": ("time", "s", 0.5), "y": ("y", "nm", 0.03), "x": ("x", "nm", 0.03)}
"""Axes of a movie as most programs describe them, by letter."""


def _coordinates(n, step):
    return np.arange(n) * step


def write_emd(path, stored, axes):
    """As HyperSpy does: units letter by letter, two coordinates."""
    with h5py.File(path, "w") as file:
        file.create_group("signals").attrs["emd_group_type"] = 1
        group = file.create_group("signals/film")
        group.attrs["emd_group_type"] = 1
        group["data"] = stored
        for i, (name, unit, step) in enumerate(axes):
            dim = group.create_dataset(f"dim{i + 1}", data=_coordinates(2, step or 1))
            dim.attrs["name"] = name
            dim.attrs["units"] = f"[{'_'.join(unit)}]" if unit else ""


def write_emd_1(path, stored, axes):
    """EMD 1.0, which counts from 0 and has all coordinates."""
    with h5py.File(path, "w") as file:
        group = file.create_group("root/film")
        group.attrs["emd_group_type"] = "array"
        group["data"] = stored
        for i, (name, unit, step) in enumerate(axes):
            dim = group.create_dataset(f"dim{i}", data=_coordinates(stored.shape[i], step or 1))
            dim.attrs.update(name=name, units=unit)


def _signal(axes, stored):
    for i, (name, unit, step) in enumerate(axes):
        said = {"name": name or "<undefined>", "units": unit or "<undefined>", "offset": 0.0}
        yield f"axis-{i}", {**said, "scale": step or 1.0, "size": stored.shape[i]}


def write_hspy(path, stored, axes):
    with h5py.File(path, "w") as file:
        group = file.create_group("Experiments/film")
        group["data"] = stored
        for name, said in _signal(axes, stored):
            group.create_group(name).attrs.update(said)


def write_zspy(path, stored, axes):
    root = zarr.open_group(path, mode="w", zarr_format=2)
    group = root.create_group("Experiments/film")
    group.create_array("data", data=stored)
    for name, said in _signal(axes, stored):
        group.create_group(name, attributes=said)


def write_nexus(path, stored, axes):
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        data = entry.create_group("scan")
        names = [name or "." for name, _, _ in axes]
        data.attrs.update(NX_class="NXdata", signal="counts", axes=names)
        data["counts"] = stored
        for i, (name, unit, step) in enumerate(axes):
            if name and step is not None and name not in data:
                data[name] = _coordinates(stored.shape[i], step)
                data[name].attrs["units"] = unit


def write_netcdf(path, stored, axes):
    """As xarray does through netCDF 4: dimension scales with units."""
    with h5py.File(path, "w") as file:
        file["film"] = stored
        for i, (name, unit, step) in enumerate(axes):
            scale = file.create_dataset(
                name or f"dim_{i}", data=_coordinates(stored.shape[i], step or 1)
            )
            scale.attrs["units"] = unit
            scale.make_scale(name or f"dim_{i}")
            file["film"].dims[i].attach_scale(scale)


def write_xarray_zarr(path, stored, axes):
    names = [name or f"dim_{i}" for i, (name, _, _) in enumerate(axes)]
    group = zarr.open_group(path, mode="w")
    group.create_array("film", data=stored, dimension_names=names)
    for i, (name, (_, unit, step)) in enumerate(zip(names, axes, strict=True)):
        if step is not None:
            coordinates = _coordinates(stored.shape[i], step)
            group.create_array(name, data=coordinates, attributes={"units": unit})


def write_ome_zarr(path, stored, axes):
    described = [
        {"name": name or f"d{i}", **({"unit": unit} if unit else {})}
        for i, (name, unit, _) in enumerate(axes)
    ]
    scale = [step or 1.0 for _, _, step in axes]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    image = {"axes": described, "datasets": [level]}
    group = zarr.open_group(
        path, mode="w", attributes={"ome": {"version": "0.5", "multiscales": [image]}}
    )
    group.create_array("0", data=stored)


def write_bioformats2raw(path, stored, axes):
    """Two images, of which the second is meant."""
    root = zarr.open_group(path, mode="w", attributes={"bioformats2raw.layout": 3})
    root.create_group("OME", attributes={"series": ["0", "1"]})
    for name, pixels in (("0", stored + 1), ("1", stored)):
        write_ome_zarr(f"{path}/{name}", pixels, axes)


WRITERS = {
    "film.emd": write_emd,
    "film1.emd": write_emd_1,
    "film.hspy": write_hspy,
    "film.zspy": write_zspy,
    "film.nxs": write_nexus,
    "film.nc": write_netcdf,
    "film.zarr": write_xarray_zarr,
    "film.ome.zarr": write_ome_zarr,
}
"""Of every format that describes its axes."""

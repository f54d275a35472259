"""Strange things that lie on the disks of laboratories; a new one takes a function and ``@strange``.

Each is put into a folder of good movies and costs itself alone. What stemkin says of it stands
beside: a part of the reason, or None where the thing is no movie and nobody need hear of it, or is
a good movie in a strange place.
"""

import os
import shutil
import socket
import struct
import zipfile

import h5py
import numpy as np

THINGS = {}
"""Name → (what makes it, part of the reason or None)."""


def strange(reason):
    """Know a function of (folder, path of a good movie) that makes a strange thing."""

    def known(make):
        THINGS[make.__name__] = make, reason
        return make

    return known


@strange("a link to a folder above it")
def a_link_to_its_own_folder(folder, good):
    (folder / "self").symlink_to(".")


@strange("a link to a folder above it")
def a_link_above_everything(folder, good):
    (folder / "below").mkdir()
    (folder / "below" / "up").symlink_to("../..")


@strange("searched already")
def a_second_link_to_a_folder(folder, good):
    for name in ("one", "two"):
        (folder / name).symlink_to(folder / "empty")
    (folder / "empty").mkdir()


@strange("out of reach")
def links_in_a_circle(folder, good):
    (folder / "ping.npy").symlink_to("pong.npy")
    (folder / "pong.npy").symlink_to("ping.npy")


@strange("a link to nothing")
def a_link_to_nothing(folder, good):
    (folder / "gone.npy").symlink_to("nowhere.npy")


@strange("is a pipe")
def a_pipe(folder, good):
    os.mkfifo(folder / "pipe.npy")


@strange(None)
def a_pipe_that_is_no_movie(folder, good):
    os.mkfifo(folder / "control")


@strange("is a socket")
def a_socket(folder, good):
    here = os.getcwd()
    os.chdir(folder)  # the path of a socket has 107 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("socket.npy")
    finally:
        os.chdir(here)


@strange("is a device")
def a_device(folder, good):
    (folder / "zero.npy").symlink_to("/dev/zero")


@strange(None)
def a_movie_whose_name_is_latin_1(folder, good):
    shutil.copy(good, os.fsencode(folder) + b"/\xe9tude.npy")


@strange(None)
def a_folder_whose_name_is_latin_1(folder, good):
    inside = os.fsencode(folder) + b"/d\xe9but"
    os.mkdir(inside)
    shutil.copy(good, inside + b"/film.npy")


@strange(None)
def a_name_that_reads_like_another(folder, good):
    shutil.copy(good, folder / "%E9tude.npy")


@strange(None)
def a_name_of_two_lines(folder, good):
    shutil.copy(good, folder / "two\nlines <b>.npy")


@strange("is empty")
def an_empty_file(folder, good):
    (folder / "empty.tif").touch()


@strange("no file of a format|neither a Zarr store|could not be opened as Zarr")
def a_folder_called_like_a_store(folder, good):
    (folder / "hollow.zarr").mkdir()


@strange("nested too deeply")
def a_header_of_minus_signs(folder, good):
    header = b"-" * 60_000 + b"1"
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header))
    (folder / "minus.npy").write_bytes(head + header + bytes(100))


@strange("0 arrays")
def a_header_of_minus_signs_in_an_archive(folder, good):
    header = b"(" * 60_000
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header))
    with zipfile.ZipFile(folder / "minus.npz", "w") as archive:
        archive.writestr("film.npy", head + header + bytes(100))


@strange("nested.zarr")
def metadata_nested_without_end(folder, good):
    (folder / "nested.zarr").mkdir()
    (folder / "nested.zarr" / "zarr.json").write_text("[" * 100_000)


@strange("cannot be listed")
def a_path_longer_than_the_system_takes(folder, good):
    here = os.getcwd()
    os.chdir(folder)
    try:
        for _ in range(60):
            os.mkdir("deep" * 20)
            os.chdir("deep" * 20)
        shutil.copy(good, "film.npy")
    finally:
        os.chdir(here)


if os.geteuid():  # root may read everything

    @strange("cannot be listed: Permission denied")
    def a_folder_that_nobody_may_read(folder, good):
        (folder / "locked").mkdir()
        (folder / "locked").chmod(0)


@strange("holds no dataset")
def a_file_of_links_in_a_circle(folder, good):
    with h5py.File(folder / "circle.h5", "w") as file:
        file["a"] = h5py.SoftLink("/b")
        file["b"] = h5py.SoftLink("/a")
        file.create_group("down")["up"] = file["/"]


@strange("a link to a folder above it")
def folders_of_a_camera_in_a_circle(folder, good):
    inside = folder / "Hour_00"
    inside.mkdir()
    for name in ("Minute_00", "Minute_01", "Second_00"):
        (inside / name).symlink_to("..")


@strange("is no movie|could not be opened|holds")
def a_picture_called_like_a_movie(folder, good):
    np.savetxt(folder / "table.h5", np.eye(3))


def remove(folder):
    """Remove a folder with all that is strange in it."""
    if (folder / "locked").exists():
        (folder / "locked").chmod(0o700)
    shutil.rmtree(os.fsencode(folder))

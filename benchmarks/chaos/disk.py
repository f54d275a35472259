"""Small disks: a tmpfs that can be made full."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def mount(*arguments: str) -> None:
    """Call mount."""
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def can_mount(folder: Path) -> bool:
    """Tell whether a tmpfs may be mounted here."""
    folder.mkdir()
    done = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
        == 0
    )
    if done:
        subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()
    return done


def fill(disk: Path) -> None:
    """Leave almost no room on a small disk; what is written meanwhile may need another try."""
    for spare in (2**14, 2**16, 2**18, 2**20):
        used = shutil.disk_usage(disk).used
        try:
            mount("-o", f"remount,size={used + spare}", str(disk))
        except subprocess.CalledProcessError:
            continue
        return
    msg = f"{disk} could not be made smaller while it was written to"
    raise RuntimeError(msg)

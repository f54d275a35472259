"""Arguments and options of the commands, each with the sentence that ``--help`` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="Movies, folders, globs, URLs or a CSV/TOML manifest."),
]
Folder = Annotated[Path, typer.Argument(metavar="RESULTS", help="A results folder.")]
Out = Annotated[str, typer.Option("--out", "-o", help="Results folder (a path or an fsspec URL).")]
PixelSize = Annotated[
    float | None,
    typer.Option("--pixel-size-nm", help="Edge of a pixel; overrides what the files say."),
]
FrameTime = Annotated[
    float | None,
    typer.Option("--frame-time-s", help="Time from frame to frame; overrides what the files say."),
]
DoseRate = Annotated[
    float | None, typer.Option("--dose-rate-e-per-nm2-s", help="Electrons per nm2 and second.")
]
Exposure = Annotated[
    float | None,
    typer.Option(
        "--exposure-fraction",
        help="Part of the frame time that each frame is exposed: 0 for a scanned probe, 1 for a "
        "camera that never closes; overrides what the files say.",
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="Which one, where a file holds several images or arrays: its path, name or number.",
    ),
]
Channel = Annotated[
    int | None, typer.Option("--channel", help="Which detector, where a file holds several.")
]
TimeAxis = Annotated[
    str | None,
    typer.Option(
        "--time-axis",
        help="Name or number of the stored axis that is time, where the files call it otherwise "
        "(z) or do not say it.",
    ),
]
AllowExternal = Annotated[
    bool,
    typer.Option(
        "--allow-external",
        help="Read pixels from other files that a file points to (virtual datasets, links out of a "
        "store), and URLs that a manifest names. Only for files that you trust.",
    ),
]
Material = Annotated[
    str | None,
    typer.Option(
        "--material",
        help="WS2, MoS2, WSe2, MoSe2, graphene, hBN; with a dopant if need be (MoS2:V). Classes are "
        "named after it.",
    ),
]
DetectorName = Annotated[
    Literal["fourier", "network", "paper"] | None,
    typer.Option(
        "--detector",
        help="How defects are found: a filter, a network learned from the input, or the paper's.",
    ),
]
Changed = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="One setting, such as link.max_step_nm=0.7; `stemkin config` lists them. May be "
        "repeated; counts more than the file.",
    ),
]
Settings = Annotated[Path | None, typer.Option("--config", help="Settings as a TOML file.")]
ModelFolder = Annotated[
    Path | None,
    typer.Option("--model", help="A learned model; without it one is learned from the input."),
]
Cluster = Annotated[
    str,
    typer.Option(
        "--cluster",
        help="auto | processes | threads | gpu | tcp://HOST:PORT | scheduler.json | cluster.toml; auto "
        "takes threads where there is little to search.",
    ),
]
Workers = Annotated[
    int | None, typer.Option("--workers", help="How many processes, threads or jobs to start.")
]
Tls = Annotated[
    Path | None,
    typer.Option(
        "--tls",
        metavar="FOLDER",
        help="Encrypt what passes between client, scheduler and workers: a folder with ca.pem, "
        "cert.pem and key.pem. Peers without a certificate of that authority are refused.",
    ),
]
Edit = Annotated[
    Path | None,
    typer.Option(
        "--classes", help="TOML file that renames, merges or splits classes; see `stemkin classes`."
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh", "--overwrite", help="Remove what the results folder holds and start over."
    ),
]
Relearn = Annotated[
    bool,
    typer.Option(
        "--relearn",
        help="Learn the model again from all movies as they are now, and search all of them again; "
        "without it, new movies are searched with the model that the folder has.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="STAGE",
        help="The last stage: detect, link or kinetics; by default the report. The same command "
        "without it goes on from there.",
    ),
]
Follow = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Follow an acquisition: search what is recorded while more is, and write the report of "
        "what is done so far, until Ctrl-C.",
    ),
]
UntilIdle = Annotated[
    float | None,
    typer.Option(
        "--until-idle",
        metavar="SECONDS",
        help="With --watch: end when nothing new was recorded for so long.",
    ),
]

"""The settings of a run, as a TOML file says them; every key has a sensible default.

>>> print(RunConfig().to_toml())  # doctest: +ELLIPSIS
[calibration]
...
>>> RunConfig.from_toml("[link]\\nmax_stepp_nm = 0.4")
Traceback (most recent call last):
stemkin.config.ConfigError: the settings have no key 'link.max_stepp_nm'; [link] knows max_step_nm, max_gap_frames, lattice
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    StrictBool,
    ValidationError,
)


class ConfigError(ValueError):
    """A setting that cannot be used; its message is one sentence."""


class Section(BaseModel):
    """A table of the TOML file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CalibrationSection(Section):
    """What overrides the files' own metadata; unset means that the file (or manifest) says it."""

    pixel_size_nm: PositiveFloat | None = Field(default=None, description="Edge of a pixel [nm].")
    frame_time_s: PositiveFloat | None = Field(
        default=None, description="Time from frame to frame [s]."
    )
    dose_rate_e_per_nm2_s: PositiveFloat | None = Field(
        default=None, description="Electrons per nm² and second."
    )
    exposure_fraction: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Part of the frame time that each frame is exposed: 0 for a scanned probe, 1 "
        "for a camera that never closes.",
    )


class InputSection(Section):
    """Which images of the files are meant, where a file holds several or does not say it all."""

    dataset: str | None = Field(
        default=None, description="Path, name or number of the image, where a file holds several."
    )
    channel: int | None = Field(
        default=None, ge=0, description="Which detector, where the file holds several."
    )
    time_axis: str | None = Field(
        default=None,
        description="Name or number of the stored axis that is time, where it is not said.",
    )
    allow_external: StrictBool = Field(
        default=False,
        description="Whether pixels may come from other files that a file points to, and movies "
        "from URLs that a manifest names.",
    )


class LearnSection(Section):
    """How the detector and the taxonomy are learned from a sample."""

    n_frames: PositiveInt | None = Field(
        default=None,
        description="Frames of the sample, from all movies; unset means 16 of each kind (pixel size, "
        "dose), and one of each movie, up to 200.",
    )
    n_classes: PositiveInt | None = Field(
        default=None, description="How many classes; unset means as many as the data tell apart."
    )
    seed: int = Field(default=0, description="Equal seeds give equal models.")
    material: str = Field(
        default="WS2",
        description="WS2, MoS2, WSe2, MoSe2, graphene, hBN; with a dopant if need be (MoS2:V). Classes "
        "are named after it.",
    )
    detector: Literal["fourier", "network", "paper"] = Field(
        default="fourier",
        description="A filter, a network learned from the movies, or the paper's own.",
    )


class DetectSection(Section):
    """How defects are found."""

    false_positives_per_frame: PositiveFloat = Field(
        default=1.0, description="How many false defects a perfect frame may show on average."
    )
    frames_per_block: PositiveInt | None = Field(
        default=None, description="Frames of a task; unset means some 64 MiB of them."
    )
    device: Literal["auto", "cpu", "cuda", "torch"] = Field(
        default="auto",
        description="Where frames are searched; auto takes a GPU where a worker has one.",
    )
    injected_frames: int = Field(
        default=0,
        ge=0,
        description="Into so many frames known defects are put, to see how many of each kind are "
        "found.",
    )


class LinkSection(Section):
    """How detections become tracks."""

    max_step_nm: PositiveFloat | None = Field(
        default=None,
        description="How far a defect may move from frame to frame [nm]; unset means 2.2 lattice "
        "constants.",
    )
    max_gap_frames: int = Field(
        default=1, ge=0, description="Over how many frames a defect may be missed within its track."
    )
    lattice: StrictBool = Field(
        default=False, description="Whether defects step from site to site of one lattice only."
    )


class KineticsSection(Section):
    """How tracks become numbers."""

    lag_frames: PositiveInt = Field(
        default=1, description="Transitions are counted over so many frames."
    )
    max_lag_frames: PositiveInt = Field(
        default=10, description="Mean squared displacements are computed up to this lag."
    )
    confidence: float = Field(
        default=0.95, gt=0, lt=1, description="How often intervals hold the truth."
    )
    diffusion_methods: tuple[Literal["auto", "mle", "cve", "ols", "hop"], ...] = Field(
        default=("auto", "mle", "cve"),
        description="Estimators of D; auto takes the one whose assumptions hold.",
    )
    null_controls: StrictBool = Field(
        default=True,
        description="Whether the same numbers are computed of shuffled and immobile tracks.",
    )
    rate_prior: Literal["none", "jeffreys"] = Field(
        default="none",
        description="Prior of the rates of changes: jeffreys for rare ones (means of posteriors).",
    )
    correct_names: StrictBool = Field(
        default=True, description="Whether rates are corrected for wrong names, too."
    )
    self_check_runs: int = Field(
        default=150,
        ge=0,
        description="How often the experiment is simulated to test its own intervals.",
    )
    meeting_reach_nm: PositiveFloat | None = Field(
        default=None, description="Defects closer than this have met [nm]; unset means one hop."
    )


class SitesSection(Section):
    """Whether every site of the lattice is followed, for doses at which no frame shows a vacancy."""

    traces: StrictBool = Field(
        default=False,
        description="Whether the signal of every site is kept in every frame, and hop rates are read "
        "from correlations too.",
    )
    max_lag_frames: PositiveInt | None = Field(
        default=None,
        description="Longest lag of correlations; unset means 64 frames or half the movie.",
    )
    occupancy: StrictBool = Field(
        default=False,
        description="Whether the expected number of vacancies of each frame is found too, from the "
        "chances of all sites in all frames; some 0.1 ms for a site and frame.",
    )


class RunSection(Section):
    """How the run treats the machine."""

    retries: int = Field(
        default=2, ge=0, description="How often a task that failed is tried again."
    )
    gpu_per_task: float | None = Field(
        default=None, gt=0, description="Share of a GPU that each task of the search needs."
    )


class ReportSection(Section):
    """What stands at the head of the report, in the user's words; none of it enters a number."""

    title: str | None = Field(default=None, description="What the report is called.")
    sample: str | None = Field(default=None, description="What was looked at.")
    operator: str | None = Field(default=None, description="Who recorded it.")
    voltage_kv: PositiveFloat | None = Field(default=None, description="Acceleration voltage [kV].")
    temperature_k: PositiveFloat | None = Field(
        default=None, description="Temperature of the sample [K]."
    )
    notes: str | None = Field(default=None, description="Whatever else a reader should know.")


class RunConfig(Section):
    """All settings of a run, section by section.

    Attributes
    ----------
    calibration
        Pixel size [nm], frame time [s], dose rate [e/nm²/s] and exposed part of the frame time that
        override the files' own.
    input
        Which dataset and channel of the files, where they hold several; which stored axis is time.
    learn
        How the detector and the taxonomy are learned from a sample of frames.
    detect
        How defects are found: false positives wanted per frame, frames per block, device; into how
        many frames known ones are put.
    link
        How detections become tracks: the longest step [nm], the longest gap [frames], the lattice.
    kinetics
        How tracks become numbers: lags [frames], confidence, methods of diffusion, controls.
    sites
        Whether every site is followed, too, up to which lag [frames] it is correlated, and whether
        vacancies are counted by the chances of sites.
    run
        How the run treats the machine: retries of a task, share of a GPU that each needs.
    report
        What stands at the head of the report: title, sample, operator, voltage [kV], temperature
        [K], notes.
    """

    calibration: CalibrationSection = CalibrationSection()
    input: InputSection = InputSection()
    learn: LearnSection = LearnSection()
    detect: DetectSection = DetectSection()
    link: LinkSection = LinkSection()
    kinetics: KineticsSection = KineticsSection()
    sites: SitesSection = SitesSection()
    run: RunSection = RunSection()
    report: ReportSection = ReportSection()

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> RunConfig:
        """Return the settings of nested tables.

        Raises
        ------
        ConfigError
            One sentence that names the key, the value met and what is allowed.
        """
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise ConfigError(_sentence(error)) from None

    @classmethod
    def from_toml(cls, text: str) -> RunConfig:
        """Return the settings that a TOML text says."""
        try:
            return cls.from_dict(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            msg = f"the settings are no valid TOML: {error}; `stemkin config` writes some that are"
            raise ConfigError(msg) from None

    @classmethod
    def from_file(cls, path: str | Path) -> RunConfig:
        """Return the settings of a TOML file; errors name the file."""
        try:
            return cls.from_toml(Path(path).read_text(encoding="utf-8"))
        except ConfigError as error:
            msg = f"{path}: {error}"
            raise ConfigError(msg) from None
        except (OSError, UnicodeDecodeError) as error:
            msg = f"the settings file {path} cannot be read ({error}); `stemkin config` writes one"
            raise ConfigError(msg) from None

    def with_values(self, **sections: dict[str, Any]) -> RunConfig:
        """Return a copy with some keys of some sections replaced; None leaves a key as it is."""
        settings = self.model_dump()
        for section, values in sections.items():
            settings[section] |= {key: value for key, value in values.items() if value is not None}
        return RunConfig.from_dict(settings)

    def with_words(self, words: Sequence[str]) -> RunConfig:
        """Return a copy with settings replaced by words such as ``"link.max_step_nm=0.7"``.

        What follows ``=`` is a value of TOML, or a word without quotes.

        Raises
        ------
        ConfigError
            If a word is no setting, or its value cannot be used.

        Examples
        --------
        >>> changed = RunConfig().with_words(["link.max_gap_frames=2", "learn.material=MoS2"])
        >>> changed.link.max_gap_frames, changed.learn.material
        (2, 'MoS2')
        """
        settings = self.model_dump()
        for word in words:
            key, equals, value = word.partition("=")
            section, dot, name = key.strip().partition(".")
            if not (equals and dot and name):
                msg = f"a setting is said like 'link.max_step_nm=0.7', but this is {word!r}"
                raise ConfigError(msg)
            settings.setdefault(section, {})
            settings[section][name] = _value_of(value.strip())
        return RunConfig.from_dict(settings)

    @classmethod
    def documented(cls) -> str:
        """Return the default settings as TOML, each with what it means and may be."""
        lines = ["# The settings of stemkin; each stands at its default."]
        for section, about in cls.model_fields.items():
            own = about.annotation
            assert isinstance(own, type)
            assert issubclass(own, Section)
            lines += ["", f"[{section}]  # {(own.__doc__ or '').strip()}"]
            values = own().model_dump(mode="json")
            for name, field in own.model_fields.items():
                lines += [f"# {field.description}"]
                lines += [_documented_line(name, values[name])]
        return "\n".join([*lines, ""])

    def to_toml(self) -> str:
        """Return the settings as TOML; a key that is not set stands as a comment."""
        lines = []
        for section, values in self.model_dump(mode="json").items():
            lines.append(f"[{section}]")
            lines += [_line(key, value) for key, value in values.items()]
            lines.append("")
        return "\n".join(lines)


def _value_of(text: str) -> Any:
    """Return what a value of TOML says; text that is none is a word."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _documented_line(key: str, value: Any) -> str:
    """Return the line of a default; what is unset can be set by taking the sign away."""
    if value is None:
        return f"# {key} ="
    return _line(key, value)


def _line(key: str, value: Any) -> str:
    """Return the line of TOML that says a setting; a comment where it is not set."""
    if value is None:
        return f"# {key} is not set"
    return f"{key} = {_toml(value)}"


def _toml(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return str(value)


def _sentence(error: ValidationError) -> str:
    """Return what is wrong with the first key that cannot be used."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return f"the settings have no key {key!r}; {_known_beside(path)}"
    return f"the setting {key} cannot be {first['input']!r}: {first['msg'].lower()}"


def _known_beside(path: list[str]) -> str:
    """Return which keys there are in the place of a key that is not known."""
    if len(path) == 1:
        return f"the file knows {', '.join(RunConfig.model_fields)}"
    section = RunConfig.model_fields[path[0]].annotation
    assert isinstance(section, type)
    assert issubclass(section, Section)
    return f"[{path[0]}] knows {', '.join(section.model_fields)}"

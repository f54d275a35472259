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

    pixel_size_nm: PositiveFloat | None = None
    frame_time_s: PositiveFloat | None = None
    dose_rate_e_per_nm2_s: PositiveFloat | None = None
    exposure_fraction: float | None = Field(default=None, ge=0, le=1)


class InputSection(Section):
    """Which images of the files are meant, where a file holds several or does not say it all."""

    dataset: str | None = None
    channel: int | None = Field(default=None, ge=0)
    time_axis: str | None = None


class LearnSection(Section):
    """How the detector and the taxonomy are learned from a sample."""

    n_frames: PositiveInt = 16
    n_classes: PositiveInt | None = None
    seed: int = 0
    material: str = "WS2"
    detector: Literal["fourier", "network", "paper"] = "fourier"


class DetectSection(Section):
    """How defects are found."""

    false_positives_per_frame: PositiveFloat = 1.0
    frames_per_block: PositiveInt | None = None
    device: Literal["auto", "cpu", "cuda", "torch"] = "auto"


class LinkSection(Section):
    """How detections become tracks."""

    max_step_nm: PositiveFloat | None = None
    max_gap_frames: int = Field(default=1, ge=0)
    lattice: StrictBool = False


class KineticsSection(Section):
    """How tracks become numbers."""

    lag_frames: PositiveInt = 1
    max_lag_frames: PositiveInt = 10
    confidence: float = Field(default=0.95, gt=0, lt=1)
    diffusion_methods: tuple[Literal["auto", "mle", "cve", "ols", "hop"], ...] = (
        "auto",
        "mle",
        "cve",
    )
    null_controls: StrictBool = True
    correct_names: StrictBool = True
    self_check_runs: int = Field(default=150, ge=0)
    meeting_reach_nm: PositiveFloat | None = None


class RunSection(Section):
    """How the run treats the machine."""

    retries: int = Field(default=2, ge=0)
    gpu_per_task: float | None = Field(default=None, gt=0)


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
        How defects are found: false positives wanted per frame, frames per block, device.
    link
        How detections become tracks: the longest step [nm], the longest gap [frames], the lattice.
    kinetics
        How tracks become numbers: lags [frames], confidence, methods of diffusion, controls.
    run
        How the run treats the machine: retries of a task, share of a GPU that each needs.
    """

    calibration: CalibrationSection = CalibrationSection()
    input: InputSection = InputSection()
    learn: LearnSection = LearnSection()
    detect: DetectSection = DetectSection()
    link: LinkSection = LinkSection()
    kinetics: KineticsSection = KineticsSection()
    run: RunSection = RunSection()

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
            msg = f"the settings are no valid TOML: {error}"
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
            msg = f"the settings file {path} cannot be read: {error}"
            raise ConfigError(msg) from None

    def with_values(self, **sections: dict[str, Any]) -> RunConfig:
        """Return a copy with some keys of some sections replaced; None leaves a key as it is."""
        settings = self.model_dump()
        for section, values in sections.items():
            settings[section] |= {key: value for key, value in values.items() if value is not None}
        return RunConfig.from_dict(settings)

    def to_toml(self) -> str:
        """Return the settings as TOML; a key that is not set stands as a comment."""
        lines = []
        for section, values in self.model_dump(mode="json").items():
            lines.append(f"[{section}]")
            lines += [_line(key, value) for key, value in values.items()]
            lines.append("")
        return "\n".join(lines)


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

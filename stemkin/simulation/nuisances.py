"""What a microscope adds to its images that nobody wants; all of it off unless a world asks for it.

`worlds.draw_world` draws these at random from wide ranges. Each one acts where its kind belongs:
haze and adsorbates on the expected image (`haze`), shear, fly-back and coloured jitter on the scan
(`scanning`), what the detector does to counts on what is written (`recording`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Nuisances:
    """Nuisances of one movie.

    Attributes
    ----------
    haze
        Standard deviation of a smooth random background, over the peak of a metal column.
    haze_length_nm
        Its correlation length.
    haze_slope
        How fast its spectrum falls beyond: amplitudes go with (1 + (f length)^2)^(-slope / 2).
    haze_drift_y_nm_per_frame, haze_drift_x_nm_per_frame
        How it moves over the specimen.
    haze_flicker
        Standard deviation of the amplitude of each of its waves in time, over their mean.
    haze_flicker_frames
        Correlation time of that.
    haze_growth_s
        It has come to 63 % of its strength after so long; 0 for at once.
    n_adsorbates
        Blobs on the field of view that come and go.
    adsorbate_sd_nm, adsorbate_strength
        Their width, and their volume over that of a metal column.
    shear_x, shear_y
        By how much the scan moves along x per row, and along y per column.
    flyback_nm, flyback_px
        Where each row begins too far to the right, and over how many pixels that fades.
    jitter_slope
        The power spectrum of the lines' jitter falls with this power of the frequency.
    hum_nm, hum_rows
        Amplitude and period of a hum in the scan of the lines.
    row_noise
        Standard deviation of what is added to each line, over the mean intensity.
    afterglow
        Share of a pixel's signal that is left when the next pixel is read.
    excess_noise
        Variance of counts, over Poisson's, less 1.
    nonlinearity
        Share of the brightest pixels' signal that the detector loses.
    video_step
        Grey levels by which a compressed 8-bit video rounds the amplitudes of its 8 x 8 blocks; 0
        for no video.
    part_blank_frames, doubled_frames, torn_frames, zoomed_frames
        Numbers of bad frames: a band of lines without signal; two exposures in one; the stage
        jumps half-way; another magnification.
    mixed_bad_frames
        Whether a frame that is bad by chance may be so in these ways, too.
    """

    haze: float = 0.0
    haze_length_nm: float = 1.0
    haze_slope: float = 2.0
    haze_drift_y_nm_per_frame: float = 0.0
    haze_drift_x_nm_per_frame: float = 0.0
    haze_flicker: float = 0.0
    haze_flicker_frames: float = 5.0
    haze_growth_s: float = 0.0
    n_adsorbates: int = 0
    adsorbate_sd_nm: float = 0.2
    adsorbate_strength: float = 0.5
    shear_x: float = 0.0
    shear_y: float = 0.0
    flyback_nm: float = 0.0
    flyback_px: float = 10.0
    jitter_slope: float = 0.0
    hum_nm: float = 0.0
    hum_rows: float = 40.0
    row_noise: float = 0.0
    afterglow: float = 0.0
    excess_noise: float = 0.0
    nonlinearity: float = 0.0
    video_step: float = 0.0
    part_blank_frames: tuple[int, ...] = ()
    doubled_frames: tuple[int, ...] = ()
    torn_frames: tuple[int, ...] = ()
    zoomed_frames: tuple[int, ...] = ()
    mixed_bad_frames: bool = False

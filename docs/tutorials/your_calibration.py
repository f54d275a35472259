"""# Tutorial: your calibration

Every length rests on the size of a pixel, every rate on the frame time. A wrong one is the worst
fault, so look at both before anything else.
"""

# %%
# A file that says its pixel size, as ImageJ writes it, and not how much time lies between frames.
import tifffile

import stemkin as sk

frames = sk.simulate_movie("paper", n_frames=3, shape=(96, 96), seed=2).frames.compute()
tifffile.imwrite(
    "stack.tif",
    frames,
    imagej=True,
    resolution=(1 / 0.03, 1 / 0.03),
    metadata={"axes": "TYX", "unit": "nm"},
)
movie = sk.open_movie("stack.tif")
print(movie)

# %%
# What is not known is unknown, and is not guessed. What you say counts more than the file, and is
# remembered as yours.
told = sk.open_movie("stack.tif", frame_time_s=2.25)
for name, where in told.calibration.origin.items():
    print(f"{name} = {getattr(told, name):g}, from {where}")

# %%
# The lattice checks the pixel size: WS2 has a = 0.3153 nm.
wrong = sk.open_movie("stack.tif", pixel_size_nm=0.3, frame_time_s=2.25)
for opened in (told, wrong):
    rows = sk.detect(opened, sk.FourierDetector())
    lattice_px = rows.experiment.frames.compute()["lattice_px"].median()
    print(f"a = {lattice_px * opened.pixel_size_nm:.3f} nm with {opened.pixel_size_nm} nm a pixel")

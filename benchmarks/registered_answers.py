"""Benchmarks of answers: tracks, tables, D, rates, networks; and of the house itself."""

from registered import Benchmark

ANSWERS = (
    Benchmark(
        "bench_stages.py",
        tells=(
            "processor seconds of each stage of a run, as multiples of a transform of a "
            "frame, commit beside commit"
        ),
        asked="-o {kept}/stages.json",
        yardstick="transforms of a frame",
        bar="commit beside commit",
        minutes=2,
        kept=("stages.json",),
    ),
    Benchmark(
        "bench_frame.py",
        tells=(
            "what the search of one frame costs, stage by stage, in transforms of that "
            "frame and in copies of it, commit beside commit"
        ),
        asked="-o {kept}/frame.json",
        yardstick="transforms and copies of a frame",
        bar="8 transforms a frame",
        minutes=1,
        kept=("frame.json",),
    ),
    Benchmark(
        "bench_layout.py",
        tells="how long the lazy `link` takes to lay out its graph, from 50 to 16,000 blocks",
        asked="-o {kept}/layout.json",
        bar="in proportion to blocks",
        minutes=1,
        kept=("layout.json",),
    ),
    Benchmark(
        "bench_long_movie.py",
        tells=(
            "one giant movie's rows: linking, counting, MSD; time, peak and rows read of "
            "each (about 170 bytes of disk per row)"
        ),
        asked="--rows 1e6 1e7 3.2e7 1.06e8 -o {kept}/long_movie.json",
        bar="cost of a row and memory flat",
        minutes=15,
        kept=("long_movie.json",),
    ),
    Benchmark(
        "bench_shuffle.py",
        tells=(
            "transitions of a table whose partitions cut tracks, shuffled from worker to "
            "worker, beside whole tracks: equal to the bit, time and memory"
        ),
        asked="--rows 1e6 1e7 -o {kept}/shuffle.json",
        yardstick="whole tracks",
        bar="the same bits",
        minutes=5,
        kept=("shuffle.json",),
    ),
    Benchmark(
        "bench_tables.py",
        tells="transition counts and MSD beside pandas and trackpy",
        asked="-o {kept}/tables.json",
        peers="pandas, trackpy",
        bar="20 times pandas",
        minutes=3,
        kept=("tables.json",),
    ),
    Benchmark(
        "bench_counting.py",
        tells="the three ways of counting transitions: plain, packed, compiled",
        asked="--rows 1e5 1e6 4e6 -o {kept}/counting.json",
        bar="the fastest of three ways",
        minutes=1,
        kept=("counting.json",),
    ),
    Benchmark(
        "bench_zarr.py",
        tells="blocks of Zarr frames by stemkin, zarr-python and zarrs",
        asked="-o {kept}/zarr.json",
        peers="zarr-python, zarrs",
        bar="no slower than either",
        minutes=1,
        kept=("zarr.json",),
    ),
    Benchmark(
        "bench_diffusion.py",
        tells=(
            "bias, efficiency and coverage of D for every method, beside what any method can do"
        ),
        asked="--sets 1000 -o {kept}/diffusion.json",
        yardstick="the Cramér-Rao bound",
        bar="coverage .93 to .97, efficiency .93",
        minutes=15,
        kept=("diffusion.json",),
    ),
    Benchmark(
        "bench_kinetics.py",
        tells=(
            "coverage of intervals of rates, numbers and null controls, beside what whole "
            "numbers allow"
        ),
        asked="--sets 400 -o {kept}/kinetics.json",
        yardstick="what whole numbers allow",
        bar="coverage .93 to .97",
        minutes=20,
        kept=("kinetics.json",),
    ),
    Benchmark(
        "bench_names.py",
        tells=(
            "coverage of rates where names are wrong for 1, 2, 5 and 10 frames: raw, "
            "corrected, and corrected for names that last"
        ),
        asked="--sets 200",
        yardstick="the truth",
        bar="coverage of 95 %",
        minutes=10,
        kept=("names.txt",),
    ),
    Benchmark(
        "bench_network.py",
        tells="the network beside the Fourier detector and AtomAI, on the same labels",
        asked="--presets paper --atomai -o {kept}/network.json",
        peers="AtomAI",
        yardstick="the Fourier detector",
        bar="AtomAI on the same labels",
        minutes=20,
        kept=("network.json",),
    ),
    Benchmark(
        "bench_sites.py",
        tells=(
            "hop rates from correlations of site traces: bias, spread, coverage, beside "
            "counting with perfect eyes"
        ),
        asked="--frames 100 --n 24 --depths 8 1.4",
        yardstick="counting with perfect eyes",
        bar="coverage of 95 %",
        minutes=10,
        kept=("sites.txt",),
    ),
    Benchmark(
        "dose_figure.py",
        tells=("D against dose: tracks of single frames, tracks of likely vacancies, correlations"),
        asked="-o {scratch}/dose.png",
        minutes=20,
        kept=("dose.txt",),
    ),
    Benchmark(
        "bench_occupancy.py",
        tells="chances of vacancies at sites: recall and calibration, beside single frames",
        asked="--n 3",
        yardstick="single frames",
        bar="calibrated chances",
        minutes=5,
        kept=("occupancy.txt",),
    ),
    Benchmark(
        "bench_chains.py",
        tells="chains of dopants at low doses: bias, coverage, states that are right",
        asked="--n 12",
        yardstick="counting with perfect eyes",
        bar="bias below .10, states right in .96",
        minutes=10,
        kept=(),
    ),
    Benchmark(
        "bench_regimes.py",
        tells=(
            "how often intervals of D and of rates hold the truth in 42 regimes (rates, "
            "lattices, fields, cameras, mixtures, unequal movies, short tracks, gaps), "
            "beside their null controls, with the verbs' defaults"
        ),
        asked="--part 1/4 --json {scratch}/regimes.json",
        yardstick="the truth",
        bar="95 % intervals hold it in .90 or more of the sets",
        minutes=60,
        kept=("regimes.txt",),
    ),
    Benchmark(
        "bench_estimators.py",
        tells="how far off published and other estimators are on the same tracks",
        asked="--sets 40 -o {kept}/estimators.json --plot {kept}/estimators.png",
        peers="published estimators",
        yardstick="the truth",
        minutes=10,
        kept=(
            "estimators.json",
            "estimators.png",
        ),
    ),
    Benchmark(
        "plan_beside_run.py",
        tells="what `stemkin plan` foresaw of the demo, beside what its run gave",
        asked="{results}",
        yardstick="the run",
        minutes=1,
        kept=("plan.txt",),
    ),
    Benchmark(
        "bench_truth.py",
        tells="a long movie with pixels: do the intervals hold the truth, raw names apart",
        asked="--preset long --frames 2000 --size 384 --seed 12 -o {kept}/truth.json",
        yardstick="the truth",
        bar="95 % intervals hold it",
        minutes=30,
        kept=("truth.json",),
    ),
    Benchmark(
        "bench_simulation.py",
        tells="frames per second of the simulator; opening a terabyte",
        asked="--frames 40 -o {kept}/simulation.json",
        yardstick="transforms of a frame",
        minutes=2,
    ),
    Benchmark(
        "simulation_figures.py",
        tells="the simulator against closed formulas, as figures",
        asked="--out {scratch}",
        yardstick="closed formulas",
        minutes=3,
    ),
    Benchmark(
        "bench_gpu.py",
        tells="the kernels on every array library of a machine",
        asked="--size 512 --frames 32",
        peers="every array library",
        yardstick="NumPy",
        minutes=2,
    ),
    Benchmark(
        "bench_foreign.py",
        tells="D and its intervals where others measured: beads in water, worlds of single particles",
        yardstick="the truth",
        bar="95 % intervals hold it",
        minutes=5,
        kept=("foreign.txt",),
    ),
    Benchmark(
        "multislice_columns.py",
        tells="heights of columns by multislice (abTEM), which the simulator's are held against",
        peers="abTEM",
        asked="-o {scratch}/columns.npz",
        minutes=10,
    ),
    Benchmark(
        "house.py",
        tells="the house in numbers: lines, density, comments and documentation, room by room",
        minutes=0.1,
    ),
)

"""Benchmarks of runs: the engine, healing, reading, detection."""

from registered import Benchmark

RUNS = (
    Benchmark(
        "bench_scaling.py",
        tells=(
            "the pass over the pixels with more workers (strong, weak), idle share of "
            "workers, empty tasks per second, what the machine allows without Dask"
        ),
        asked="--out {kept}/scaling.json",
        yardstick="two processes without Dask",
        bar="as much as the search alone gains",
        minutes=12,
        kept=(
            "scaling.json",
            "scaling.png",
        ),
    ),
    Benchmark(
        "bench_scale.py",
        tells=(
            "what one more movie costs the client: processor time by stage, requests to the "
            "store, bytes of `run.json`, growth exponents; blocks and sums kept when a "
            "movie joins"
        ),
        asked="--movies 10 40 100 --until link --grow 2 --out {kept}/scale.json",
        yardstick="the smallest archive",
        bar="exponents of at most 1",
        minutes=6,
        kept=("scale.json",),
    ),
    Benchmark(
        "bench_memory.py",
        tells=(
            "memory of client, scheduler and worker from 1 GB to 50 GB (virtual), 1 TB "
            "planned and begun; the true detector's peak beside the projection"
        ),
        asked="-o {kept}/memory.json",
        yardstick="the smallest archive, the projection",
        bar="client, scheduler and worker within 2 % from 1 GB to 50 GB",
        minutes=15,
        kept=(
            "memory.json",
            "memory.png",
        ),
    ),
    Benchmark(
        "bench_chaos.py",
        tells="runs with a random fault each end or resume to the calm run's tables",
        asked="-o {kept}/chaos.json",
        yardstick="the calm run",
        bar="no row lost, doubled or changed",
        minutes=20,
        kept=(
            "chaos.json",
            "chaos.md",
        ),
    ),
    Benchmark(
        "bench_heal.py",
        tells=(
            "a thousand faults, in stretches that add up: files of finished folders that "
            "rot, runs killed, suspended, starved at moments that file events tell: healed "
            "at once, by the same command, named"
        ),
        asked="--seconds 95 --folder {scratch} -o {kept}/heal.json",
        yardstick="the calm run",
        bar="1,000 faults: no row lost, doubled or changed in silence",
        minutes=8,
        kept=(
            "heal.json",
            "heal.md",
        ),
    ),
    Benchmark(
        "bench_stopped.py",
        tells=(
            "workers, their nannies and the scheduler of a real cluster are stopped "
            "(SIGSTOP) for longer than anyone waits for them, then go on: the tables are "
            "the calm run's"
        ),
        asked="--seconds 100 --folder {scratch} -o {kept}/stopped.json",
        yardstick="the calm run",
        bar="no row lost, doubled or changed in silence",
        minutes=8,
        kept=(
            "stopped.json",
            "heal.md",
        ),
    ),
    Benchmark(
        "bench_hostile.py",
        tells=(
            "ten thousand hostile inputs over all formats, results, models, settings, "
            "manifests, tables of others: no traceback, nothing over 30 s or twice the "
            "declared memory"
        ),
        asked="--seconds 90 --results {results} -o {kept}/hostile.json",
        yardstick="what an input declares",
        bar="10,000 inputs: no traceback, no 30 s, no twice the memory",
        minutes=15,
        kept=("hostile.json",),
    ),
    Benchmark(
        "bench_soak.py",
        tells=(
            "does anything grow with the number of runs: memory, descriptors, threads, "
            "children, temporary files"
        ),
        asked=(
            "--in-process --rounds 32 --tiny 1 --long 4 --failing 2 --breathe-every 4 "
            "--rounds-per-scheduler 16 --plot {kept}/soak.png -o {kept}/soak.json"
        ),
        yardstick="the rounds of the scheduler before",
        bar="nothing grows",
        minutes=15,
        kept=(
            "soak.json",
            "soak.png",
            "soak_large.json",
            "soak_large.png",
        ),
    ),
    Benchmark(
        "dask_keeps.py",
        tells="what Dask keeps of tasks and workers that are long over, and what bounds it",
        asked="--bounded",
        bar="what grows is known by name",
        minutes=2,
        kept=("dask_keeps.txt",),
    ),
    Benchmark(
        "bench_seals.py",
        tells="does reading take longer because bytes are compared with their seals",
        asked="-o {kept}/seals.json",
        yardstick="pyarrow without seals",
        bar="reading no slower",
        minutes=1,
        kept=("seals.json",),
    ),
    Benchmark(
        "kill_and_resume.py",
        tells=(
            "the transcript of a run that is killed halfway and goes on, its tables beside "
            "those of a calm run"
        ),
        asked="-o {kept}/kill_and_resume.txt",
        yardstick="the calm run",
        bar="the same bytes",
        minutes=2,
        kept=("kill_and_resume.txt",),
    ),
    Benchmark(
        "bench_corpus.py",
        tells=(
            "files of every format against their truth: right, refused, wrong, and read "
            "alike by other libraries"
        ),
        asked="--scale 4 -o {kept}/corpus.json",
        peers="what other libraries read",
        yardstick="the truth of each file",
        bar="none wrong",
        minutes=2,
        kept=("corpus.json",),
    ),
    Benchmark(
        "bench_fuzz.py",
        tells="tens of thousands of broken files: each opens or is refused in one sentence",
        bar="no traceback, no 30 s",
        minutes=15,
    ),
    Benchmark(
        "bench_io.py",
        tells="reading against what disk and codec can do alone",
        asked="--gib 2 -o {kept}/io.json",
        peers="zarr-python, tifffile, h5py",
        yardstick="disk and codec alone",
        bar="as fast as the codec",
        minutes=5,
        kept=("io.json",),
    ),
    Benchmark(
        "bench_detection.py",
        tells="recall, precision, position and speed beside an ideal observer and trackpy",
        asked="-o {kept}/detection.json",
        peers="trackpy",
        yardstick="ideal observer",
        bar="recall and precision of an ideal observer",
        minutes=8,
        kept=("detection.json",),
    ),
    Benchmark(
        "bench_worlds.py",
        tells=(
            "detection, naming and places in worlds drawn at random, beside an ideal "
            "observer: worst decile and median"
        ),
        asked=("--n 10 --first 8100 --frames 64 --edge 384 --ideal 8 -o {kept}/worlds_usual.json"),
        yardstick="ideal observer",
        bar=".85 of its d' in the worst decile",
        minutes=20,
        kept=(
            "worlds_usual.json",
            "worlds_quarter.json",
            "worlds.json",
        ),
    ),
    Benchmark(
        "bench_injection.py",
        tells=(
            "do defects that are put into frames tell how many of the true ones are found: "
            "shares beside recalls, kind by kind, in worlds"
        ),
        asked="--n 6 --first 7000 --ideal 4 -o {kept}/injection.txt",
        yardstick="true defects",
        bar="shares within their errors of recalls",
        minutes=10,
        kept=("injection.txt",),
    ),
    Benchmark(
        "bench_clustering.py",
        tells="are the names right, do they carry over, how fast is the mixture",
        asked="--frames 12 -o {kept}/clustering.json",
        peers="scikit-learn",
        yardstick="the truth",
        bar="right names for 99 %",
        minutes=5,
        kept=("clustering.json",),
    ),
    Benchmark(
        "clustering_gallery.py",
        tells="pictures of the classes of results folders",
        asked="{results} --out {scratch}/gallery.png",
        minutes=1,
    ),
    Benchmark(
        "bench_association.py",
        tells="are tracks right, beside trackpy and laptrack, at rising density",
        asked="-o {kept}/association.json",
        peers="trackpy, laptrack",
        yardstick="the truth",
        bar="HOTA above both at every density",
        minutes=10,
        kept=("association.json",),
    ),
    Benchmark(
        "bench_linking.py",
        tells="linking, rows per second beside trackpy",
        asked="-o {kept}/linking.json",
        peers="trackpy",
        bar="3 times trackpy at 100 points a frame, 10 times at 1,000",
        minutes=2,
        kept=("linking.json",),
    ),
)

"""The parts of `bench_chaos.py`."""

"""A Dask Gateway: its client is active, and `stemkin.run` uses whichever client is active.

    pip install dask-gateway "stemkin[cloud]"
    python gateway.py https://gateway.example.org s3://bucket/movies s3://bucket/results --workers
    32

The gateway encrypts and authenticates. Its workers need the same versions as this process; that is
checked at the start.
"""

import argparse

import stemkin as sk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gateway")
    parser.add_argument("movies")
    parser.add_argument("results")
    parser.add_argument("--workers", type=int, default=8)
    given = parser.parse_args()
    from dask_gateway import Gateway

    with Gateway(given.gateway).new_cluster() as cluster:
        cluster.adapt(minimum=1, maximum=given.workers)
        with cluster.get_client():
            print(sk.run(given.movies, given.results).describe())


if __name__ == "__main__":
    main()

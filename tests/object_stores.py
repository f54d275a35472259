"""An S3 server's address for this process and those that it starts, for the length of a ``with``
block."""

from contextlib import contextmanager

import pytest

RETIRED = []
"""File systems of servers that are gone: zarr has its own among them, whose sessions nobody else
can close in order."""


@contextmanager
def s3_at(url, **more):
    """Have every S3 file system that is made in the block talk to `url`, and none of them outlive
    it."""
    import s3fs

    from stemkin.readers import place

    def forget():
        RETIRED.extend(s3fs.S3FileSystem._cache.values())
        s3fs.S3FileSystem.clear_instance_cache()
        place._filesystem.cache_clear()

    environment = {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1", **more,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        forget()
        yield s3fs.S3FileSystem()
        forget()

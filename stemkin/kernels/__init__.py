"""The science: arrays in, arrays out. No Dask, no files, no tables; a physicist can check each with
a pencil."""

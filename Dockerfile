# The image of the cluster recipes in examples/clusters: scheduler, workers and client are the same.
#
#     docker build -t stemkin:0.1.0 .
#     docker run --rm -v "$PWD:/data" stemkin:0.1.0 stemkin run /data/movies -o /data/results
#
# What else is wanted (network, formats, cloud, video) is an extra: --build-arg EXTRAS=cloud,formats
FROM python:3.12-slim AS build
ARG EXTRAS=cloud
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY stemkin stemkin
RUN python -m venv /opt/stemkin \
    && /opt/stemkin/bin/pip install --no-cache-dir -c constraints.txt ".[${EXTRAS}]"

FROM python:3.12-slim
RUN useradd --create-home --uid 1000 stemkin
COPY --from=build /opt/stemkin /opt/stemkin
# numba and Matplotlib keep what they compiled and found where the user may write
ENV PATH=/opt/stemkin/bin:$PATH NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib
USER stemkin
WORKDIR /home/stemkin
CMD ["stemkin", "--help"]

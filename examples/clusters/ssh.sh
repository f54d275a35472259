#!/bin/bash
# Machines that you reach by ssh and that share a folder: one scheduler here, workers there.
#   bash ssh.sh node1 node2 node3
# The port is open to whoever reaches this machine, and whoever reaches it can run code: on any network that is not yours alone,
# make certificates first (tls.sh) and add "$@" of its last lines to both commands below.
set -eu
shared=/shared/stemkin
export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0
dask scheduler --host "$(hostname -f)" --port 8786 --dashboard-address 127.0.0.1:8787 --scheduler-file "$shared/scheduler.json" &
trap 'kill $(jobs -p)' EXIT
until [ -s "$shared/scheduler.json" ]; do sleep 0.2; done
for host in "$@"; do
  ssh "$host" "source $shared/bin/activate; export OMP_NUM_THREADS=1 DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False MALLOC_TRIM_THRESHOLD_=268435456 MALLOC_MMAP_THRESHOLD_=67108864
    exec dask worker --scheduler-file $shared/scheduler.json --nworkers auto --nthreads 1 --no-dashboard" &
done
stemkin run /shared/movies -o /shared/results --cluster "$shared/scheduler.json"

"""What would be asked of a cluster's queue, and mistakes in asking."""

import re

import pytest

from deformgan.cohort.pool import Jobs, PoolOptions, job_script, local_shares, open_pool
from deformgan.errors import InputError


def test_slurm_job_is_one_worker_for_one_pair_on_its_cores():
    jobs = Jobs("slurm", "short", "04:00:00", ("--account=lab",))
    script = job_script(PoolOptions(threads=4, memory="8GB", jobs=jobs))
    for line in ("-p short", "-t 04:00:00", "--account=lab", "--cpus-per-task=4", "--mem=8G"):
        assert f"#SBATCH {line}" in script
    assert "export OMP_NUM_THREADS=4" in script and "export NUMBA_NUM_THREADS=4" in script
    command = script.splitlines()[-1]
    assert re.findall(r"--nthreads (\d+)", command)[-1] == "1"  # the last one counts
    assert "--resources MEMORY=8000" in command and "--memory-limit 7.45GiB" in command and "--nanny" in command
    assert script.index("export OMP") < script.index(command)


def test_pbs_has_queue_and_cores():
    script = job_script(PoolOptions(threads=2, memory="4GB", jobs=Jobs("pbs", "long", "01:00:00")))
    assert "#PBS -q long" in script and "ncpus=2" in script and "walltime=01:00:00" in script


def test_shares_of_this_machine(monkeypatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", 8)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 10_000_000_000)
    assert local_shares(PoolOptions()) == (5, 1, 2000.0)  # as many as have 2 GB
    assert local_shares(PoolOptions(workers=2)) == (2, 4, 5000.0)
    assert local_shares(PoolOptions(memory="5GB", threads=3)) == (2, 3, 5000.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (PoolOptions(memory="lots"), "--memory must be a size such as 6GB; got 'lots'"),
        (PoolOptions(jobs=Jobs("slurm")), "--cluster needs --memory"),
        (PoolOptions(jobs=Jobs("slurm"), scheduler="tcp://127.0.0.1:1"), "exclude each other"),
    ],
)
def test_mistakes_are_named(options, words):
    with pytest.raises(InputError, match=words), open_pool(options):
        pass


def test_unknown_cluster():
    with pytest.raises(InputError, match="--cluster must be one of slurm, pbs"):
        Jobs("slrum")

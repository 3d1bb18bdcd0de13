"""A pool of workers: processes on this machine, those of a running dask scheduler, or jobs of a cluster's queue."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deformgan.errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

MEMORY = "MEMORY"  # dask's resource: megabytes that the tasks of a worker may need together
THREADS_OF = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
LEAST_MB = 2000  # a worker's memory, where this machine is divided among as many as there are cores
_NO_PAGE = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}  # of dask's web server, any free port
GONE = "the scheduler is gone; what is done stays, run the same command again to go on"
FRESH_S = 1.0  # how old a count of the workers may be
PATIENCE_S = 120  # with processes that are to answer: a worker may be born on a machine that others keep busy
SYSTEMS = {"slurm": "SLURM", "pbs": "PBS", "sge": "SGE", "lsf": "LSF", "oar": "OAR", "moab": "Moab"}


@dataclass(frozen=True)
class Jobs:
    """How to ask a cluster's queue for workers, one a job.

    system: one of SYSTEMS.  directives: further lines for its jobs, such as "--account=lab".  What is not said here is
    taken from dask's own configuration of that system.
    """

    system: str
    queue: str | None = None
    walltime: str | None = None
    directives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.system not in SYSTEMS:
            raise InputError(f"--cluster must be one of {', '.join(SYSTEMS)}; got {self.system!r}")


@dataclass(frozen=True)
class PoolOptions:
    """workers: processes or jobs; 0 = one a core, as far as memory goes.  threads: of each; 0 = its share of the cores.

    memory: of each, such as "6GB"; "" = its share.  scheduler: address of a running one.  jobs: how to ask a cluster's
    queue for workers.  retries: how often a task is tried again after its worker died.  cuda: each takes one GPU.
    """

    workers: int = 0
    threads: int = 0
    memory: str = ""
    scheduler: str = ""
    jobs: Jobs | None = None
    retries: int = 2
    cuda: bool = False


@dataclass
class Pool:
    """A client of dask, and what its workers can bear.  largest_mb: memory of the largest worker.  threads: of each."""

    client: Client
    threads: int
    largest_mb: float
    _slots: int = 0
    _looked: float = field(default=float("-inf"))
    _declared: bool = True

    def slots(self) -> int:
        """How many tasks can run at once now; 0 while no worker is there.  Raises InputError."""
        if time.monotonic() - self._looked > FRESH_S:
            try:
                workers = self.client.scheduler_info()["workers"].values()
            except OSError as error:
                raise InputError(GONE) from error
            self._looked = time.monotonic()
            self._slots = sum(worker["nthreads"] for worker in workers)
            self._declared = all(MEMORY in worker["resources"] for worker in workers)
            limits = [worker["memory_limit"] / 1e6 if worker["memory_limit"] else float("inf") for worker in workers]
            self.largest_mb = max([self.largest_mb, *limits])
        return self._slots

    def submit(self, function: Callable[[Any], Any], payload: Any, key: str, memory_mb: float) -> Future[Any]:
        """Hand one task over; workers that declare their memory take no more tasks at once than it holds."""
        from deformgan.cohort.worker import call

        needs = {MEMORY: memory_mb} if self._declared and memory_mb else None
        return self.client.submit(call, function, payload, key=key, pure=False, resources=needs)

    def check(self) -> None:
        """Raises InputError where the scheduler is gone."""
        if self.client.status not in ("running", "connecting"):
            raise InputError(GONE)

    def cancel(self, futures: list[Any]) -> None:
        """Give up tasks; those that run on another's scheduler end all the same."""
        if futures and self.client.status == "running":
            self.client.cancel(futures)


@contextmanager
def open_pool(options: PoolOptions, prepare: Callable[[], None] | None = None) -> Iterator[Pool]:
    """The workers, until the block ends.  prepare: of a module's level, called in every worker before its first task.

    Raises InputError where there are none to be had.
    """
    if options.scheduler and options.jobs:
        raise InputError("--scheduler and --cluster exclude each other; give one")
    opened = _running(options) if options.scheduler else _queued(options) if options.jobs else _local(options)
    with opened as pool:
        from deformgan.cohort.worker import Setup

        gpus = _gpus() if options.cuda and not (options.scheduler or options.jobs) else 0
        own = not (options.scheduler or options.jobs)
        pool.client.register_plugin(Setup(gpus, own, prepare))
        yield pool


def local_shares(options: PoolOptions) -> tuple[int, int, float]:
    """(workers, threads of each, MB of each) on this machine."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    whole = MEMORY_LIMIT / 1e6
    each = _bytes(options.memory) / 1e6 if options.memory else 0.0
    fit = max(1, int(whole // (each or LEAST_MB)))
    workers = options.workers or (_gpus() if options.cuda else min(CPU_COUNT, fit))
    return workers, options.threads or max(1, CPU_COUNT // workers), each or whole / workers


@contextmanager
def _local(options: PoolOptions) -> Iterator[Pool]:
    import dask
    from distributed import Client, LocalCluster

    workers, threads, memory_mb = local_shares(options)
    pinned = _threads_of(threads)
    with dask.config.set(_settings(options)):
        with _environment(pinned):  # what dask sets before it starts a process gives way to it
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=int(memory_mb * 1e6),
                resources={MEMORY: memory_mb},
                scheduler_kwargs=_NO_PAGE,
                silence_logs=logging.CRITICAL,
                env=pinned,  # of a process that is started later in another's place, too
            )
        with cluster, Client(cluster) as client:
            yield Pool(client, threads, memory_mb)


@contextmanager
def _running(options: PoolOptions) -> Iterator[Pool]:
    from distributed import Client

    try:
        client = Client(options.scheduler, timeout=PATIENCE_S)
    except (OSError, ValueError) as error:
        raise InputError(f"--scheduler {options.scheduler}: no dask scheduler answers there: {error}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE_S)
        except TimeoutError as error:
            raise InputError(f"--scheduler {options.scheduler}: it has no workers; start some first") from error
        yield Pool(client, options.threads or 1, 0.0)


@contextmanager
def _queued(options: PoolOptions) -> Iterator[Pool]:
    import dask
    from distributed import Client

    with dask.config.set(_settings(options)), job_cluster(options) as cluster, Client(cluster) as client:
        cluster.scale(jobs=options.workers or 1)
        yield Pool(client, options.threads or 1, _bytes(options.memory) / 1e6)


def job_cluster(options: PoolOptions) -> Any:
    """dask-jobqueue's cluster, no job submitted yet; its job_script() is what would be.  Raises InputError."""
    jobs, threads = options.jobs, options.threads or 1
    assert jobs is not None
    if not options.memory:
        raise InputError("--cluster needs --memory, of one worker, such as --memory 8GB")
    try:
        import dask_jobqueue
    except ImportError as error:
        raise InputError("--cluster needs dask-jobqueue; install it by: pip install 'deformgan[cluster]'") from error
    memory_mb = _bytes(options.memory) / 1e6
    return getattr(dask_jobqueue, f"{SYSTEMS[jobs.system]}Cluster")(
        cores=threads,
        processes=1,
        memory=options.memory,
        queue=jobs.queue,
        walltime=jobs.walltime,
        job_extra_directives=list(jobs.directives) or None,
        job_script_prologue=[f"export {name}={value}" for name, value in _threads_of(threads).items()],
        # The last --nthreads counts: the job's cores are for one pair at a time.
        worker_extra_args=["--nthreads", "1", "--resources", f"{MEMORY}={memory_mb:.0f}"],
        scheduler_options=_NO_PAGE,
    )


def job_script(options: PoolOptions) -> str:
    """What would be submitted for one worker."""
    with job_cluster(options) as cluster:
        return str(cluster.job_script())


def _settings(options: PoolOptions) -> dict[str, Any]:
    """Of dask: patience with a busy machine; memory is given back after every task, so a worker need not pause."""
    return {
        "distributed.comm.timeouts.connect": f"{PATIENCE_S}s",
        "distributed.scheduler.allowed-failures": options.retries,
        "distributed.worker.profile.enabled": False,
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
    }


def _threads_of(threads: int) -> dict[str, str]:
    """Environment of a worker with so many threads; libraries read it when they are loaded."""
    return dict.fromkeys(THREADS_OF, str(threads))


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Processes started in the block have these variables, and this one, after it, what it had before."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _bytes(text: str) -> float:
    from dask.utils import parse_bytes

    try:
        return float(parse_bytes(text))
    except ValueError as error:
        raise InputError(f"--memory must be a size such as 6GB; got {text!r}") from error


def _gpus() -> int:
    import torch

    if not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no CUDA GPU here; use --device cpu or install torch with CUDA")
    return torch.cuda.device_count()

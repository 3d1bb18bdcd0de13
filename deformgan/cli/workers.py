"""The options of every command that works on many files: which workers, and how a batch is shown and ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from deformgan.cli.process import keep_freed_memory
from deformgan.errors import InputError

if TYPE_CHECKING:
    from deformgan.cohort.jobs import Tally
    from deformgan.cohort.pool import Pool, PoolOptions

WORKERS_HELP = "Processes, 0 = by cores and memory; more than one keep a status.csv, and one failure stops no other."
T = TypeVar("T")
AGAIN = "what is done stays; run the same command again and it goes on"

Workers = Annotated[
    int, typer.Option("--workers", "-j", min=0, help="Processes, or jobs of --cluster; 0 = by cores and memory.")
]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads of each; 0 = its share of the cores.")]
Memory = Annotated[str, typer.Option(help="Of each worker, such as 6GB.  Default: its share.")]
Scheduler = Annotated[str, typer.Option(help="A running dask scheduler, tcp://HOST:PORT.")]
Cluster = Annotated[str, typer.Option(help="Ask a queue for workers: slurm, pbs, sge, lsf, oar, moab.")]
Queue = Annotated[str | None, typer.Option(help="Queue or partition of --cluster.")]
Walltime = Annotated[str | None, typer.Option(help="Of a job of --cluster, such as 04:00:00.")]
Directive = Annotated[
    list[str] | None, typer.Option(help="A further line of a job of --cluster, such as --account=lab; repeat.")
]
Device = Annotated[str, typer.Option(help="cpu, or cuda: each worker takes one GPU.")]
Retries = Annotated[int, typer.Option(min=0, help="Of a task whose worker died.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Do again what failed before.")]


def pool_options(
    workers: int,
    threads: int,
    memory: str,
    scheduler: str,
    *,
    cluster: str = "",
    queue: str | None = None,
    walltime: str | None = None,
    directive: list[str] | None = None,
    retries: int = 2,
    device: str = "cpu",
) -> PoolOptions:
    """What the words of the command line ask for.  Raises InputError."""
    from deformgan.cohort.pool import Jobs, PoolOptions

    queued = Jobs(cluster, queue, walltime, tuple(directive or ())) if cluster else None
    return PoolOptions(workers, threads, memory, scheduler, queued, retries, cuda=device != "cpu")


def opener(options: PoolOptions) -> Callable[[], AbstractContextManager[Pool]]:
    """What opens the workers."""
    from deformgan.cohort.pool import open_pool

    return lambda: open_pool(options, keep_freed_memory)


@contextmanager
def opener_once(options: PoolOptions) -> Iterator[Callable[[], AbstractContextManager[Pool]]]:
    """What opens the workers when it is first called, and keeps them for the next calls until the block ends."""
    with ExitStack() as stack:
        held: list[Pool] = []

        @contextmanager
        def opened() -> Iterator[Pool]:
            if not held:
                held.append(stack.enter_context(opener(options)()))
            try:
                yield held[0]
            except BaseException:
                stack.close()  # the workers end before whoever called clears up after them
                raise

        yield opened


def said_to_go_on(work: Callable[[], T]) -> T:
    """The work; one that is stopped says how to go on."""
    try:
        return work()
    except SystemExit:
        typer.echo(AGAIN, err=True)
        raise


def check_all_done(tally: Tally, out: Path, what: str = "pairs") -> None:
    """Raise InputError where some failed."""
    if failed := tally.counts["failed"]:
        raise InputError(f"{failed} of {tally.total} {what} failed, see {out / 'status.csv'}; the others are done")

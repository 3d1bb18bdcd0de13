"""run_tasks(): any picklable function over any number of tasks, on the workers of a pool.

No more tasks than the pool has worker threads are with the scheduler at a time.  So a million tasks need no graph of a
million nodes, they may come from a generator, and a worker that dies costs only the task that it was at.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from deformgan.cohort.pool import GONE, Pool
from deformgan.errors import DeformganError, InputError

if TYPE_CHECKING:
    from distributed import Future

LOOK_S = 0.5  # how often new workers are looked for while none of the tasks ends


@dataclass(frozen=True)
class Task:
    """name: unique, for people.  payload: what the function is given; picklable.  memory_mb: what it may need."""

    name: str
    payload: Any
    memory_mb: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    value: what the function returned; picklable, and small.  error: one line, "" where it went well.  trace: where it
    was raised, for errors that no user can mend.
    """

    task: Task
    value: Any = None
    error: str = ""
    trace: str = ""


def run_tasks(
    tasks: Iterable[Task],
    function: Callable[[Any], Any],
    pool: Pool,
    *,
    started: Callable[[Task], None] = lambda task: None,
) -> Generator[Outcome, None, None]:
    """The outcome of every task, as they end; one that fails does not stop the others.

    function: of a module's level, called with a payload on a worker; it has to bear being called twice, since a task
    whose worker dies is done again by another, as often as the pool allows.  started: told each task that is handed
    over.  Closing the iterator cancels what has not begun.  Raises InputError where the pool itself is lost.
    """
    waiting, running, ended = iter(tasks), dict[Any, Task](), SimpleQueue[Any]()
    run, more = uuid4().hex[:8], True
    try:
        while running or more:
            while more and len(running) < pool.slots():
                task = next(waiting, None)
                if task is None:
                    more = False
                elif task.memory_mb > pool.largest_mb:
                    yield Outcome(task, error=_too_large(task, pool))
                else:
                    future = pool.submit(function, task.payload, f"{task.name}-{run}", task.memory_mb)
                    running[future] = task
                    future.add_done_callback(ended.put)
                    started(task)
            try:
                future = ended.get(timeout=LOOK_S)
            except Empty:
                pool.check()
                continue
            yield _outcome(running.pop(future), future, pool)
    finally:
        pool.cancel(list(running))


def _too_large(task: Task, pool: Pool) -> str:
    return (
        f"may need {task.memory_mb / 1000:.1f} GB, the largest worker has {pool.largest_mb / 1000:.1f} GB; "
        "take fewer workers (--workers), or give each more (--memory)"
    )


def _outcome(task: Task, future: Future[Any], pool: Pool) -> Outcome:
    from distributed.scheduler import KilledWorker

    if future.status == "finished":
        return Outcome(task, value=future.result())
    if future.status != "error":
        raise InputError(GONE)
    error = future.exception()
    if isinstance(error, KilledWorker):
        times = error.allowed_failures + 1
        return Outcome(
            task,
            error=f"its worker died {times} times while it was at this; it may need more memory than the estimate of "
            f"{task.memory_mb / 1000:.1f} GB (a worker has {pool.largest_mb / 1000:.1f} GB)",
        )
    line = " ".join(str(error).split())
    if isinstance(error, DeformganError):
        return Outcome(task, error=line)
    from traceback import format_tb

    return Outcome(task, error=f"{type(error).__name__}: {line}", trace="".join(format_tb(future.traceback())))

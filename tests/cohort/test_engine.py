"""Any function on real worker processes; `eval` is one that every worker knows."""

import os

import pytest

from deformgan.cohort.engine import Task, run_tasks
from deformgan.cohort.pool import PoolOptions, open_pool
from deformgan.errors import InputError

KILL = "__import__('os').kill(__import__('os').getpid(), 9)"


def test_every_task_has_an_outcome_whatever_happens_to_it(pool):
    words = {"one": "1 + 1", "wrong": "1 / 0", "killer": KILL, "two": "2 + 2", "three": "3 + 3", "four": "4 + 4"}
    tasks = [Task(name, text, 10.0) for name, text in words.items()]
    tasks.insert(2, Task("too large", "0", 1e9))
    started = []
    outcomes = {o.task.name: o for o in run_tasks(tasks, eval, pool, started=lambda t: started.append(t.name))}
    assert outcomes.keys() == {t.name for t in tasks}
    assert [outcomes[name].value for name in ("one", "two", "three", "four")] == [2, 4, 6, 8]
    assert outcomes["wrong"].error == "ZeroDivisionError: division by zero" and "line 1" in outcomes["wrong"].trace
    assert "died 2 times" in outcomes["killer"].error
    assert "1000000.0 GB" in outcomes["too large"].error and "too large" not in started


def test_tasks_are_taken_as_workers_get_free(pool):
    taken = []

    def tasks():
        for n in range(50):
            taken.append(n)
            yield Task(f"t{n}", f"{n}")

    outcomes = run_tasks(tasks(), eval, pool)
    assert sum(next(outcomes).value >= 0 for _ in range(10)) == 10
    assert 10 <= len(taken) <= 10 + pool.slots()
    outcomes.close()
    assert len(list(run_tasks([Task("after", "1")], eval, pool))) == 1


def test_workers_have_their_share_of_the_cores(pool):
    text = "{k: v for k, v in __import__('os').environ.items() if k.endswith('_THREADS')}"
    (outcome,) = run_tasks([Task("environment", text)], eval, pool)
    expected = str(pool.threads)
    assert outcome.value["NUMBA_NUM_THREADS"] == outcome.value["OMP_NUM_THREADS"] == expected
    assert outcome.value["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == expected


def test_a_worker_in_place_of_a_killed_one_has_them_too_and_this_process_has_not(pool):
    text = "(__import__('os').environ['NUMBA_NUM_THREADS'], __import__('os').environ['OMP_NUM_THREADS'])"
    (killed,) = run_tasks([Task("killer", KILL)], eval, pool)
    assert "died" in killed.error
    outcomes = run_tasks([Task(f"environment {n}", text) for n in range(8)], eval, pool)
    assert {o.value for o in outcomes} == {(str(pool.threads),) * 2}
    assert "NUMBA_NUM_THREADS" not in os.environ


def test_a_running_scheduler_serves_too(pool):
    with open_pool(PoolOptions(scheduler=pool.client.scheduler.address)) as other:
        assert [o.value for o in run_tasks([Task("a", "5 * 5", 10.0)], eval, other)] == [25]
        assert other.largest_mb == pytest.approx(pool.largest_mb, rel=1e-6)


def test_no_scheduler_there(monkeypatch):
    monkeypatch.setattr("deformgan.cohort.pool.PATIENCE_S", 1)
    with (
        pytest.raises(InputError, match="no dask scheduler answers"),
        open_pool(PoolOptions(scheduler="tcp://127.0.0.1:9")),
    ):
        pass

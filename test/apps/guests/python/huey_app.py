"""huey's queue on SQLite. Its ids are plain and each worker takes the first task, so queue and workers belong on one node."""
import sqlite3

from huey import SqliteHuey
from huey.exceptions import HueyException

from verbs import integrity, main

TASKS = 20


def migrate(file):
    queue(file)


def queue(file):
    huey = SqliteHuey("mail", filename=file, timeout=20, fsync=True)

    @huey.task(retries=1)
    def send(who, n):
        if n == 3:
            raise HueyException("no such address")
        return f"{who} {n}"

    return huey, send


def fill(file, who):
    huey, send = queue(file)
    results = [send(who, n) for n in range(TASKS)]
    send.schedule((who, 99), delay=3600)
    while True:
        task = huey.dequeue()
        if task is None:
            break
        huey.execute(task)
    done = sum(1 for n, result in enumerate(results) if n != 3 and result.get(preserve=True) == f"{who} {n}")
    return {"kept": done + 1}


def report(file):
    huey, _ = queue(file)
    rows = huey.storage.sql("SELECT count(*) FROM kv WHERE queue = 'mail'", results=True)[0][0]
    waiting = huey.scheduled_count()
    results = [huey.get(key, peek=True) for key in sorted(huey.all_results())]
    return {"kept": sum(1 for r in results if isinstance(r, str)) + waiting, "rows": rows, "pending": huey.pending_count()}


def check(file):
    integrity(sqlite3.connect(file))


main(migrate=migrate, fill=fill, report=report, check=check)

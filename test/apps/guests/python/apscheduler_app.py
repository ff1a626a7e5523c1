"""APScheduler's job store: jobs under UUIDs are added on every node, and a scheduler of one node runs them."""
import sqlite3
from datetime import datetime, timedelta, timezone

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from verbs import integrity, main

JOBS = 20


def work(who, n):
    return f"{who} {n}"


def scheduler(file):
    store = SQLAlchemyJobStore(f"sqlite:///{file}", engine_options={"connect_args": {"timeout": 20}})
    made = BackgroundScheduler(jobstores={"default": store}, timezone=timezone.utc)
    made.start(paused=True)
    return made


def migrate(file):
    scheduler(file).shutdown()


def fill(file, who):
    made = scheduler(file)
    later = datetime.now(timezone.utc) + timedelta(days=1)
    for n in range(JOBS):
        job = made.add_job("apscheduler_app:work", "date", run_date=later + timedelta(minutes=n), args=[who, n])
        if n % 4 == 0:
            made.modify_job(job.id, name="renamed", args=[who, -n])
        if n % 5 == 0:
            made.remove_job(job.id)
    made.shutdown()
    return {"kept": JOBS - JOBS // 5}


def report(file):
    made = scheduler(file)
    jobs = sorted((j.id, j.name, j.args, j.next_run_time.isoformat()) for j in made.get_jobs())
    made.shutdown()
    return {"kept": len(jobs), "jobs": jobs}


def check(file):
    made = scheduler(file)
    for job in made.get_jobs():
        assert job.func(*job.args) == f"{job.args[0]} {job.args[1]}"
    made.shutdown()
    integrity(sqlite3.connect(file))


if __name__ == "__main__":  # the scheduler imports this module for its jobs
    main(migrate=migrate, fill=fill, report=report, check=check)

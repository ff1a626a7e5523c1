"""Engines: with foreign keys for the blog, without for migrations, whose rebuilt tables would else cascade."""

from sqlalchemy import create_engine, event


def engine_of(path, foreign_keys=True):
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 20})

    @event.listens_for(engine, "connect")
    def on_connect(connection, _record):
        connection.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")

    return engine

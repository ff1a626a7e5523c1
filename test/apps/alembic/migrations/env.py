"""As `alembic init` makes it, for SQLite: batch mode, the models of the release that runs."""

import importlib
import os

from alembic import context

from database import engine_of

release = os.environ["BLOG_RELEASE"]
target_metadata = importlib.import_module(f"release{release}").Base.metadata

with engine_of(os.environ["BLOG_DB"], foreign_keys=False).connect() as connection:
    context.configure(connection=connection, target_metadata=target_metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()

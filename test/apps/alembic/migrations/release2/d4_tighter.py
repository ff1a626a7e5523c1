"""what SQLite has no ALTER for: batch mode makes a new table, copies, drops, renames"""

import sqlalchemy as sa
from alembic import op

revision = "d4"
down_revision = "c3"


def upgrade():
    with op.batch_alter_table("post") as batch:
        batch.alter_column("title", existing_type=sa.String(200), type_=sa.String(300))
        batch.alter_column("views", existing_type=sa.Integer(), nullable=False, server_default="0")
        batch.alter_column("slug", existing_type=sa.String(200), nullable=False)
        batch.drop_column("old_slug")
        batch.create_unique_constraint("uq_post_slug", ["slug"])
        batch.create_index("ix_post_views", ["views"])

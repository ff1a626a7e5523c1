"""columns and a table more, others renamed"""

import sqlalchemy as sa
from alembic import op

revision = "b2"
down_revision = "a1"


def upgrade():
    # What batch mode does not find in the table it must be told, or the rebuilt one lacks it.
    with op.batch_alter_table("author", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.add_column(sa.Column("active", sa.Boolean(), server_default="1", nullable=False))
        batch.alter_column("name", new_column_name="full_name")
    with op.batch_alter_table("post") as batch:
        batch.add_column(sa.Column("slug", sa.String(200), nullable=True))
    op.rename_table("post_tag", "post_label")
    op.create_table(
        "comment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("post_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), sa.Computed("length(text)", persisted=False), nullable=False),
        sa.ForeignKeyConstraint(["post_id"], ["post.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_comment_post_id", "comment", ["post_id"])

"""data: slugs, and views that were unknown"""

import sqlalchemy as sa
from alembic import op

revision = "c3"
down_revision = "b2"

post = sa.table("post", sa.column("id", sa.Uuid()), sa.column("slug"), sa.column("old_slug"), sa.column("views"))


def upgrade():
    connection = op.get_bind()
    for row in connection.execute(sa.select(post.c.id, post.c.old_slug)).all():
        connection.execute(post.update().where(post.c.id == row.id).values(slug=f"{row.old_slug}-{row.id.hex[:4]}"))
    op.execute("UPDATE post SET views = 0 WHERE views IS NULL")

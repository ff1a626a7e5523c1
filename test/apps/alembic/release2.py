"""The second release: columns added, renamed, narrowed and dropped, constraints named, a table more and one renamed."""

import datetime
import uuid

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship


class Base(DeclarativeBase):
    pass


post_label = Table(
    "post_label",
    Base.metadata,
    Column("post_id", ForeignKey("post.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_name", ForeignKey("tag.name", ondelete="CASCADE"), primary_key=True),
)


class Author(Base):
    __tablename__ = "author"
    __table_args__ = {"sqlite_autoincrement": True}
    id: Mapped[int] = mapped_column(primary_key=True)
    full_name: Mapped[str] = mapped_column(String(80))
    email: Mapped[str] = mapped_column(String(120), unique=True)
    joined: Mapped[datetime.date] = mapped_column(default=datetime.date(2024, 2, 29))
    active: Mapped[bool] = mapped_column(server_default="1")
    posts: Mapped[list["Post"]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Tag(Base):
    __tablename__ = "tag"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)


class Post(Base):
    __tablename__ = "post"
    __table_args__ = (
        CheckConstraint("length(title) > 0", name="ck_post_title"),
        UniqueConstraint("slug", name="uq_post_slug"),
        Index("ix_post_author_title", "author_id", "title"),
        Index("ix_post_views", "views"),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(300))
    body: Mapped[str] = mapped_column(Text, default="")
    extra: Mapped[dict] = mapped_column(JSON, default=dict)
    picture: Mapped[bytes | None] = mapped_column(LargeBinary)
    views: Mapped[int] = mapped_column(server_default="0")
    slug: Mapped[str] = mapped_column(String(200))
    author: Mapped[Author] = relationship(back_populates="posts")
    tags: Mapped[list[Tag]] = relationship(secondary=post_label)
    comments: Mapped[list["Comment"]] = relationship(cascade="all, delete-orphan")


class Comment(Base):
    __tablename__ = "comment"
    __table_args__ = {"sqlite_autoincrement": True}
    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("post.id", ondelete="CASCADE"), index=True)
    text: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(Computed("length(text)", persisted=False))


def fill(session: Session, who: str, rounds: int) -> int:
    left = 0
    author = Author(full_name=who, email=f"{who}@example.com", active=len(who) % 2 == 0)
    tag = Tag(name=f"{who} blue")
    session.add_all([author, tag])
    session.commit()
    for i in range(rounds):
        post = Post(author=author, title=f"{who} {i}", slug=f"{who}-{i}", extra={"late": i}, tags=[tag], views=i)
        post.comments = [Comment(text=f"{who} {i} " + "!" * n) for n in range(3)]
        session.add(post)
        session.commit()
        if i % 3 == 1:
            post.comments.pop()
            post.views += 1
            session.commit()
        if i % 4 == 3:
            session.delete(post)
            session.commit()
        else:
            left += 1
    return left


def report(session: Session) -> dict:
    posts = session.scalars(select(Post).order_by(Post.title, Post.slug)).all()
    return {
        "kept": len(posts),
        "strayed": sum(not p.title.startswith(f"{p.author.full_name} ") for p in posts)
        + sum(not c.text.startswith(f"{p.title} ") for p in posts for c in p.comments),
        "posts": [[p.title, p.slug, p.extra, p.views, len(p.tags)] for p in posts],
        "comments": [sorted((c.text, c.size) for c in p.comments) for p in posts],
        "tagged": session.scalar(select(func.count()).select_from(post_label)),
        "authors": [[a.email, a.active] for a in session.scalars(select(Author).order_by(Author.email))],
    }

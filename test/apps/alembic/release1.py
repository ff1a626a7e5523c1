"""The first release of the blog."""

import datetime
import uuid

from sqlalchemy import JSON, CheckConstraint, Column, ForeignKey, Index, LargeBinary, String, Table, Text, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship


class Base(DeclarativeBase):
    pass


post_tag = Table(
    "post_tag",
    Base.metadata,
    Column("post_id", ForeignKey("post.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_name", ForeignKey("tag.name", ondelete="CASCADE"), primary_key=True),
)


class Author(Base):
    __tablename__ = "author"
    __table_args__ = {"sqlite_autoincrement": True}
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    email: Mapped[str] = mapped_column(String(120), unique=True)
    joined: Mapped[datetime.date] = mapped_column(default=datetime.date(2024, 2, 29))
    posts: Mapped[list["Post"]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Tag(Base):
    __tablename__ = "tag"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)


class Post(Base):
    __tablename__ = "post"
    __table_args__ = (
        CheckConstraint("length(title) > 0", name="ck_post_title"),
        Index("ix_post_author_title", "author_id", "title"),
    )
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text, default="")
    extra: Mapped[dict] = mapped_column(JSON, default=dict)
    picture: Mapped[bytes | None] = mapped_column(LargeBinary)
    views: Mapped[int | None]
    old_slug: Mapped[str | None] = mapped_column(String(50))
    author: Mapped[Author] = relationship(back_populates="posts")
    tags: Mapped[list[Tag]] = relationship(secondary=post_tag)


def fill(session: Session, who: str, rounds: int) -> int:
    left = 0
    author = Author(name=who, email=f"{who}@example.org")
    tags = [Tag(name=f"{who} {word}") for word in ("red", "green")]
    session.add_all([author, *tags])
    session.commit()
    for i in range(rounds):
        post = Post(
            author=author,
            title=f"{who} {i}",
            body="lorem " * i,
            extra={"i": i, "half": i / 2},
            picture=bytes(range(i * 10)),
            views=None if i % 2 else i,
            old_slug=f"{who}-{i}",
            tags=tags[: 1 + i % 2],
        )
        session.add(post)
        session.commit()
        if i % 3 == 1:
            post.title += " (edited)"
            post.tags = tags[1:]
            session.commit()
        if i % 4 == 3:
            session.delete(post)
            session.commit()
        else:
            left += 1
    return left


def report(session: Session) -> dict:
    tagged = select(func.count()).select_from(post_tag)
    return {
        "kept": session.scalar(select(func.count()).select_from(Post)),
        "strayed": sum(not p.title.startswith(f"{p.author.name} ") for p in session.scalars(select(Post))),
        "posts": [[p.title, p.extra, p.views, len(p.tags)] for p in session.scalars(select(Post).order_by(Post.title))],
        "tagged": session.scalar(tagged),
        "authors": session.scalars(select(Author.email).order_by(Author.email)).all(),
    }

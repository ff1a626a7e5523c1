"""sqlite-utils: text and AUTOINCREMENT keys, many-to-many, full-text search, counts kept by triggers, and a rebuilt table."""
import sqlite3
from contextlib import contextmanager

from sqlite_utils import Database

from verbs import integrity, main

ROUNDS = 15


def opened(file):
    return Database(sqlite3.connect(file, timeout=20))


def migrate(file):
    db = opened(file)
    db["article"].create({"id": str, "title": str, "body": str, "views": int}, pk="id", not_null={"title"})
    db["article"].transform(rename={"views": "seen"}, defaults={"seen": 0})
    db["article"].enable_fts(["title", "body"], create_triggers=True, tokenize="porter")
    db["tag"].create({"name": str}, pk="name")
    db["article_tag"].create(
        {"article": str, "tag": str}, pk=("article", "tag"), foreign_keys=[("article", "article", "id"), ("tag", "tag", "name")]
    )
    db["line"].create({"who": str, "n": int})  # its rows have rowids alone
    for table in ("article", "line"):
        db[table].enable_counts()
    db["article"].create_index(["seen", "title"])


@contextmanager
def writing(db):
    """Takes the write lock before the library reads: a transaction that begins by reading cannot wait for another writer."""
    db.conn.execute("BEGIN IMMEDIATE")
    with db.conn:
        yield


def fill(file, who):
    db = opened(file)
    for i in range(ROUNDS):
        with writing(db):
            db["article"].upsert({"id": f"{who}/{i}", "title": f"Running {who}", "body": f"walked {i} miles", "seen": i}, pk="id")
            db["tag"].insert({"name": f"odd{i % 2} {who}"}, ignore=True)
            db["article_tag"].insert({"article": f"{who}/{i}", "tag": f"odd{i % 2} {who}"})
        with writing(db):
            db["line"].insert({"who": who, "n": i})
        if i % 5 == 4:
            with writing(db):
                db["article"].update(f"{who}/{i - 1}", {"body": "swam"})
            with writing(db):
                db["article_tag"].delete_where("article = ?", [f"{who}/{i - 2}"])
                db["article"].delete(f"{who}/{i - 2}")
    return {"kept": ROUNDS - ROUNDS // 5}


def report(file):
    db = opened(file)
    found = [row["id"] for row in db["article"].search("walking", order_by="id")]
    return {
        "kept": db["article"].count,
        "found": found,
        "links": db["article_tag"].count,
        "lines": [list(row) for row in db.execute("SELECT who, n FROM line ORDER BY 1, 2")],
        "counts": db.cached_counts(["article", "line"]),
        "schema": db["article"].schema,
    }


def check(file):
    db = opened(file)
    integrity(db.conn)
    assert db.cached_counts(["article", "line"]) == {"article": db["article"].count, "line": db["line"].count}, "the counts"
    db.execute("INSERT INTO article_fts(article_fts) VALUES('integrity-check')")
    db.conn.rollback()


main(migrate=migrate, fill=fill, report=report, check=check)

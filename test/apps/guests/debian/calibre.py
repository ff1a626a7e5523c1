"""calibre's library: books with authors, tags and series by calibredb. LIBRARY/metadata.db is the file."""
import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from pathlib import Path

from verbs import main

BOOKS = 4


def calibredb(file, *words):
    folder = tempfile.mkdtemp()
    lock = open(Path(tempfile.gettempdir(), "marmot-test-calibre.lock"), "w")  # it runs once for each user
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        environment = {**os.environ, "CALIBRE_CONFIG_DIRECTORY": folder, "QT_QPA_PLATFORM": "offscreen"}
        library = Path(file).parent / "library"
        library.mkdir(exist_ok=True)
        if not (library / "metadata.db").exists() and os.path.exists(file):
            (library / "metadata.db").symlink_to(file)
        done = subprocess.run(["calibredb", *words, f"--with-library={library}"], capture_output=True, text=True, env=environment)
    finally:
        lock.close()
        shutil.rmtree(folder)
    assert done.returncode == 0, (words, done.stdout + done.stderr)
    return done.stdout


def migrate(file):
    if os.path.getsize(file) > 0:
        return
    with tempfile.TemporaryDirectory() as folder:  # calibre makes a new library only in place of an empty one
        calibredb(str(Path(folder, "app.db")), "list")
        shutil.copyfile(Path(folder, "library/metadata.db"), file)


def fill(file, who):
    for n in range(BOOKS):
        words = ["--title", f"The {who} {n}", "--authors", f"Author {who} & Both", "--tags", f"new,{who}", "--series", f"Series {who}"]
        said = calibredb(file, "add", "--empty", *words)
        book = said.rsplit(":", 1)[1].strip()
        calibredb(file, "set_metadata", book, "--field", f"comments:<p>{n}</p>", "--field", f"rating:{n}", "--field", "languages:eng")
    calibredb(file, "remove", book)
    return {"kept": BOOKS - 1}


def report(file):
    fields = "title,authors,author_sort,tags,series,series_index,rating,comments,languages,uuid"
    books = json.loads(calibredb(file, "list", "--for-machine", "--fields", fields, "--sort-by", "title"))
    found = json.loads(calibredb(file, "list", "--for-machine", "--fields", "title", "--search", "tags:new"))
    return {"kept": len(books), "books": sorted(books, key=lambda book: book["title"]), "found": len(found)}


def check(file):
    calibredb(file, "check_library", "--csv")
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    lost = "SELECT count(*) FROM books WHERE id NOT IN (SELECT book FROM books_authors_link) OR sort IS NULL OR uuid IS NULL"
    assert connection.execute(lost).fetchone() == (0,)


main(migrate=migrate, fill=fill, report=report, check=check)

"""A small application beside a node: plain SQLite, no library of Marmot."""
import os, socket, sqlite3, time

path = os.environ.get("APP_DB", "/data/app.db")
while not os.path.exists(path):
    time.sleep(0.5)
db = sqlite3.connect(path, timeout=10, isolation_level=None)
db.execute("CREATE TABLE IF NOT EXISTS visit(id TEXT PRIMARY KEY NOT NULL, host TEXT, at TEXT)")
for _ in range(int(os.environ.get("APP_ROWS", "1000000000"))):
    db.execute("INSERT INTO visit VALUES(hex(randomblob(8)), ?, datetime('now'))", (socket.gethostname(),))
    print(db.execute("SELECT count(*) FROM visit").fetchone()[0], "visits", flush=True)
    time.sleep(float(os.environ.get("APP_PAUSE", "1")))

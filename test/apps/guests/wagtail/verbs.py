"""python NAME.py migrate | fill | report | check FILE [WHO]: calls the function of that name with file and name."""
import json
import sys


def main(**verbs):
    verb, *args = sys.argv[1:]
    result = verbs[verb](*args)
    if result is not None:
        print(json.dumps(result, sort_keys=True))


def integrity(connection):
    """SQLite's own checks, for an application that has none."""
    found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    broken = connection.execute("PRAGMA foreign_key_check").fetchall()
    assert found == ["ok"] and broken == [], (found, broken)

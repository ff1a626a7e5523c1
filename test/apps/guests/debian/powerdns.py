"""PowerDNS with gsqlite3: zones and records by pdnsutil, then questions to a server. PDNS is the folder of its packages."""
import os
import random
import re
import socket
import sqlite3
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from verbs import integrity, main

ROOT = Path(os.environ["PDNS"]) / "root"
LIBRARIES = sorted({str(p.parent) for p in ROOT.glob("**/lib*.so*") if p.parent.name.endswith("linux-gnu")})
os.environ["LD_LIBRARY_PATH"] = ":".join(LIBRARIES)
HOSTS = 8


def settings(folder, file, more=""):
    module = next(ROOT.glob("usr/lib/*/pdns"))
    Path(folder, "pdns.conf").write_text(
        f"launch=gsqlite3\ngsqlite3-database={file}\nmodule-dir={module}\nsocket-dir={folder}\n"
        f"gsqlite3-pragma-synchronous=1\n{more}"
    )
    return [f"--config-dir={folder}"]


def pdnsutil(file, *words):
    """Repeated while the file is locked: it reads before it writes, and such a transaction cannot wait for another process."""
    deadline = time.monotonic() + 60
    while True:
        done = called(file, *words)
        if done.returncode == 0:
            return done.stdout + done.stderr
        assert "database is locked" in done.stderr and time.monotonic() < deadline, (words, done.stdout + done.stderr)


def called(file, *words):
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run([ROOT / "usr/bin/pdnsutil", *settings(folder, file), *words], capture_output=True, text=True)


def migrate(file):
    schema = (ROOT / "usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql").read_text()
    if os.environ.get("AUTOINCREMENT") == "yes":
        schema = re.sub(r"(\bid\s+INTEGER PRIMARY KEY)", r"\1 AUTOINCREMENT", schema)
    connection = sqlite3.connect(file, timeout=20)
    connection.executescript(f"BEGIN; {schema}; COMMIT")


def fill(file, who):
    zone = f"{who}.example"
    pdnsutil(file, "create-zone", zone, f"ns1.{zone}")
    for n in range(HOSTS):
        pdnsutil(file, "add-record", zone, f"h{n}", "A", "3600", f"192.0.2.{n}")
    pdnsutil(file, "replace-rrset", zone, "h0", "A", "60", "192.0.2.100", "192.0.2.101")
    pdnsutil(file, "delete-rrset", zone, "h1", "A")
    pdnsutil(file, "set-meta", zone, "ALSO-NOTIFY", "192.0.2.1")
    pdnsutil(file, "increase-serial", zone)
    pdnsutil(file, "rectify-zone", zone)
    pdnsutil(file, "generate-tsig-key", f"key.{who}", "hmac-sha256")
    return {"kept": 1}


def zones(file):
    return sorted(line for line in pdnsutil(file, "list-all-zones").splitlines() if line.endswith(".example"))


def report(file):
    texts = {zone: sorted(pdnsutil(file, "list-zone", zone).splitlines()) for zone in zones(file)}
    return {"kept": len(texts), "zones": texts, "keys": sorted(pdnsutil(file, "list-tsig-keys").splitlines())}


def ask(port, name):
    """The addresses that a server answers for the name."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    question = struct.pack(">HHHHHH", 7, 0, 1, 0, 0, 0) + labels + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(question, ("127.0.0.1", port))
        answer = client.recv(4096)
    return sorted(socket.inet_ntoa(found) for found in re.findall(b"\x00\x01\x00\x01....\x00\x04(....)", answer, re.S))


def check(file):
    said = pdnsutil(file, "check-all-zones").strip()
    assert said.endswith(", 0 had errors."), said
    integrity(sqlite3.connect(file))
    port = random.randrange(20000, 30000)
    with tempfile.TemporaryDirectory() as folder:
        words = settings(folder, file, f"local-address=127.0.0.1\nlocal-port={port}\nguardian=no\ndaemon=no\n")
        with open(Path(folder, "log"), "w+") as log:
            server = subprocess.Popen([ROOT / "usr/sbin/pdns_server", *words], stdout=log, stderr=log)
            try:
                deadline = time.monotonic() + 60
                for zone in zones(file):
                    while True:
                        try:
                            assert ask(port, f"h0.{zone}") == ["192.0.2.100", "192.0.2.101"], zone
                            assert ask(port, f"h1.{zone}") == [], zone
                            break
                        except (TimeoutError, ConnectionError):
                            log.seek(0)
                            assert time.monotonic() < deadline and server.poll() is None, log.read()
            finally:
                server.kill()
                server.wait()


main(migrate=migrate, fill=fill, report=report, check=check)

"""Fossil: check-ins, wiki pages and tickets of a repository. It writes with triggers switched off. FOSSIL is the folder of its packages."""
import os
import subprocess
import tempfile
from pathlib import Path

from verbs import main

ROOT = Path(os.environ["FOSSIL"]) / "root"
LIBRARIES = sorted({str(p.parent) for p in ROOT.glob("**/lib*.so*") if p.parent.name.endswith("linux-gnu")})


def fossil(*words, folder="/"):
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "USER": "admin", "LD_LIBRARY_PATH": ":".join(LIBRARIES)}
        done = subprocess.run([ROOT / "usr/bin/fossil", *words], capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, (words, done.stdout + done.stderr)
    return done.stdout


def migrate(file):
    if os.path.getsize(file) > 0:
        return
    os.remove(file)
    fossil("init", file, "--admin-user", "admin")


def fill(file, who):
    with tempfile.TemporaryDirectory() as folder:
        fossil("open", file, "--force", "--nested", folder=folder)
        for n in range(3):
            Path(folder, f"{who}.txt").write_text(f"{who} {n}\n" * (n + 1))
            fossil("addremove", folder=folder)
            fossil("commit", "-m", f"{who} {n}", "--no-warnings", "--allow-fork", folder=folder)
        Path(folder, "page").write_text(f"The page of {who}")
        fossil("wiki", "create", f"Page {who}", "page", folder=folder)
        fossil("ticket", "add", "title", f"{who} asks", "comment", "why", folder=folder)
        fossil("close", "--force", folder=folder)
    return {"kept": 4}


def report(file):
    check_ins = sorted(line[9:] for line in fossil("timeline", "-R", file, "-n", "0", "-t", "ci").splitlines() if "user: admin" in line)
    pages = sorted(fossil("wiki", "list", "-R", file).split("\n"))
    tickets = fossil("ticket", "show", "0", "-R", file)
    kept = sum("initial empty" not in line for line in check_ins) + sum("Page" in page for page in pages)
    return {"kept": kept, "check_ins": check_ins, "pages": pages, "tickets": sorted(tickets.splitlines())}


def check(file):
    said = fossil("test-integrity", "-R", file)
    assert " 0 errors" in said and "integrity-check: ok" in said, said


main(migrate=migrate, fill=fill, report=report, check=check)

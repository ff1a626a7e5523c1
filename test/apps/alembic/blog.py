"""python blog.py fill WHO ROUNDS | report. BLOG_DB is the file, BLOG_RELEASE which release of the blog runs."""

import importlib
import json
import os
import sys

from sqlalchemy.orm import Session

from database import engine_of

release = importlib.import_module(f"release{os.environ['BLOG_RELEASE']}")
with Session(engine_of(os.environ["BLOG_DB"])) as session:
    if sys.argv[1] == "fill":
        print(json.dumps({"kept": release.fill(session, sys.argv[2], int(sys.argv[3]))}))
    else:
        print(json.dumps(release.report(session), sort_keys=True))

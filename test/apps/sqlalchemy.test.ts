/** SQLAlchemy and Alembic: a blog with UUIDs, natural and AUTOINCREMENT keys; migrations that rebuild tables in batch mode. */
import { join } from "node:path";
import { installPython } from "./packages.ts";
import { tryApplication } from "./suite.ts";

const FOLDER = join(import.meta.dir, "alembic");
const { folder, missing } = await installPython("alembic", FOLDER);

tryApplication({
  name: "SQLAlchemy",
  missing,
  rounds: 20,
  command(release, verb, db, ...args) {
    const alembic = ["-m", "alembic", "--config", `release${release}.ini`];
    const words = {
      migrate: [...alembic, "upgrade", "head"],
      check: [...alembic, "current", "--check-heads"],
      fill: ["blog.py", "fill"],
      report: ["blog.py", "report"],
    }[verb];
    return {
      words: [`${folder}/venv/bin/python`, ...words, ...args],
      folder: FOLDER,
      environment: {
        BLOG_DB: db,
        BLOG_RELEASE: String(release),
        PYTHONPATH: FOLDER,
        PYTHONDONTWRITEBYTECODE: "1",
      },
    };
  },
  insertOld: (name) => `INSERT INTO author(name, email, joined) VALUES('${name}', '${name}', '2024-01-01')`,
  oldIsKept: false,
  names: "SELECT full_name FROM author",
});

/** Django with its own applications (auth, admin, sessions) and a shop: models and migrations as people write them. */
import { join } from "node:path";
import { installPython } from "./packages.ts";
import { tryApplication } from "./suite.ts";

const FOLDER = join(import.meta.dir, "django");
const { folder, missing } = await installPython("django", FOLDER);

const WORDS = {
  migrate: ["migrate", "--no-input", "--verbosity", "0"],
  check: ["migrate", "--check"],
  fill: ["fill"],
  report: ["report"],
} as const;

tryApplication({
  name: "Django",
  missing,
  rounds: 60,
  command: (release, verb, db, ...args) => ({
    words: [`${folder}/venv/bin/python`, "manage.py", ...WORDS[verb], ...args],
    folder: FOLDER,
    environment: { SHOP_DB: db, SHOP_RELEASE: String(release), PYTHONDONTWRITEBYTECODE: "1" },
  }),
  insertOld: (name) => `INSERT INTO shop_customer(name, email) VALUES('${name}', '${name}')`,
  oldIsKept: false,
  names: "SELECT full_name FROM shop_customer",
});

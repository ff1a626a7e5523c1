/** Wagtail: a site as its generator makes it. */
import { join } from "node:path";
import { installPython } from "../packages.ts";
import type { Guest } from "./guest.ts";

const FOLDER = join(import.meta.dir, "wagtail");

export const WAGTAIL: Guest = {
  name: "wagtail",
  title: "Wagtail 8.0.1; one node makes pages, all edit and publish",
  install: () => installPython("wagtail", FOLDER),
  command: (folder, verb, db, ...args) => ({
    words: [`${folder}/venv/bin/python`, "-W", "ignore", "site_app.py", verb, db, ...args],
    folder: FOLDER,
    environment: { PYTHONDONTWRITEBYTECODE: "1" },
  }),
  writers: "all",
  // Each saved page brings one column of all entries of the search index up to date.
  conflicts: "any",
};

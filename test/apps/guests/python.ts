/** Applications and libraries of Python's registry, in one environment. */
import { join } from "node:path";
import { installPython } from "../packages.ts";
import type { Guest } from "./guest.ts";

const FOLDER = join(import.meta.dir, "python");

type Options = Pick<Guest, "name" | "title" | "writers"> &
  Partial<Guest> & { readonly script: string; readonly environment?: Readonly<Record<string, string>> };

const guest = ({ script, environment, ...rest }: Options): Guest => ({
  install: () => installPython("guests", FOLDER),
  command: (folder, verb, db, ...args) => ({
    words: [`${folder}/venv/bin/python`, "-W", "ignore", `${script}.py`, verb, db, ...args],
    folder: FOLDER,
    environment: { PYTHONDONTWRITEBYTECODE: "1", ...environment },
  }),
  ...rest,
});

export const PYTHON_GUESTS: readonly Guest[] = [
  guest({
    name: "sqlite-utils",
    title: "sqlite-utils 4.2.1 with full-text search and counts",
    writers: "all",
    script: "sqlite_utils_app",
    // With the rows of three nodes, a replicated counter would be last-writer-wins.
    local: ["_counts"],
    migrateBefore: true,
  }),
  guest({
    name: "langgraph",
    title: "LangGraph's checkpointer for SQLite 3.1.2",
    writers: "all",
    script: "langgraph_app",
  }),
  guest({
    name: "apscheduler",
    title: "APScheduler 3.11.3 as a store of jobs",
    writers: "all",
    script: "apscheduler_app",
  }),
  guest({
    name: "optuna",
    title: "Optuna 5.0.0, its workers on one node",
    writers: "one",
    script: "optuna_app",
  }),
  guest({
    name: "huey",
    title: "huey 3.5.4 as a queue, its workers on one node",
    writers: "one",
    script: "huey_app",
  }),
  guest({
    name: "geopackage",
    title: "GDAL's GeoPackage without spatial index (pyogrio 0.13.0)",
    writers: "all",
    script: "geopackage_app",
    migrateBefore: true,
    local: ["gpkg_ogr_contents"],
    // The extent and the time of the last change of a layer, in gpkg_contents.
    conflicts: "any",
  }),
  guest({
    name: "geopackage-index",
    title: "GDAL's GeoPackage with its spatial index on every node",
    writers: "all",
    script: "geopackage_app",
    environment: { INDEX: "yes" },
    migrateBefore: true,
    // Marmot's rows go through the triggers of the index, which call functions of GDAL.
    local: ["gpkg_ogr_contents"],
    options: ["--functions", join(import.meta.dir, "../../../docs/examples/geopackage-functions.js")],
    // The extent and the time of the last change of a layer, in gpkg_contents.
    conflicts: "any",
  }),
];

/** Loads another SQLite on macOS, as a module of its own: before any other opens a database. */
import { useSqliteLibrary } from "../../node/sqlite-library.ts";

useSqliteLibrary(process.env);

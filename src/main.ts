/** The process. Both imports come before any other module is loaded: one may replace the process, one the SQLite library. */
import "./cli/process/scaled-heap.ts";
import "./cli/process/library-of-macos.ts";

await import("./cli/process/command.ts");

/** The process. It may be replaced before any other module is loaded: see `cli/process/scaled-heap.ts`. */
import "./cli/process/scaled-heap.ts";

await import("./cli/process/command.ts");

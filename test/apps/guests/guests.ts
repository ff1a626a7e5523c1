/** The applications. */
import type { Guest } from "./guest.ts";
import { PYTHON_GUESTS } from "./python.ts";

export const GUESTS: readonly Guest[] = [...PYTHON_GUESTS];

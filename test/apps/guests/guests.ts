/** The applications. */
import { DEBIAN_GUESTS } from "./debian.ts";
import type { Guest } from "./guest.ts";

import { OTHER_GUESTS } from "./others.ts";
import { PYTHON_GUESTS } from "./python.ts";
import { WAGTAIL } from "./wagtail.ts";

export const GUESTS: readonly Guest[] = [...PYTHON_GUESTS, ...DEBIAN_GUESTS, WAGTAIL, ...OTHER_GUESTS];

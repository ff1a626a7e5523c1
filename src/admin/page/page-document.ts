/**
 * The page in one document: markup, style and script, and the policy that permits exactly these. It has no data; its script
 * asks the API.
 */
import { createHash } from "node:crypto";
import charts from "./charts.js" with { type: "text" };
import style from "./page.css" with { type: "text" };
import markup from "./page.html" with { type: "text" };
import parts from "./parts.js" with { type: "text" };
import script from "./page.js" with { type: "text" };

/** Imports of types and modules are for the editor alone: the parts are one script here. */
const code = [charts, parts, script]
  .map((text) => (text as unknown as string).replace(/^(?:import .*|export \{.*)$\n?/gm, ""))
  .join("\n");
const css = style as unknown as string;

const hash = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

export const PAGE = (markup as unknown as string)
  .replace("<!-- style -->", () => `<style>${css}</style>`)
  .replace("<!-- script -->", () => `<script type="module">${code}</script>`);

/** Only its own style, script and API; never in a frame of another page. */
export const PAGE_POLICY = [
  "default-src 'none'",
  `style-src ${hash(css)}`,
  `script-src ${hash(code)}`,
  "img-src data:",
  "connect-src 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

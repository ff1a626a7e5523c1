/**
 * Takes pictures of the page of a running node in headless Chromium: light, dark, and on a phone.
 *
 *   bun scripts/screenshots.ts [--url http://127.0.0.1:6010/] [--out dist/screenshots]
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Browser, chromium } from "../test/page/browser.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  url: { type: "string", default: "http://127.0.0.1:6010/" },
  out: { type: "string", default: "dist/screenshots" },
});
const VIEWS = [
  { name: "light", width: 1280, height: 1400, scheme: "light" },
  { name: "dark", width: 1280, height: 1400, scheme: "dark" },
  { name: "phone", width: 390, height: 844, scheme: "light" },
] as const;

if (chromium === null) throw new Error("no Chromium is installed");
mkdirSync(values.out, { recursive: true });
const browser = await Browser.start();
try {
  for (const { name, ...view } of VIEWS) {
    await browser.view(view);
    await browser.open(values.url);
    await browser.until("document.title.length > 'Marmot'.length");
    // The history comes with the first answer, the plots a moment later.
    await browser.until("document.querySelectorAll('#plot-rate *').length > 0");
    const path = join(values.out, `${name}.png`);
    await browser.screenshot(path);
    console.log(path);
  }
} finally {
  await browser.stop();
}

/** The page of a real cluster in headless Chromium, and its document without one. */
import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PAGE, PAGE_POLICY } from "../../src/admin/page/page-document.ts";
import { TestCluster, type TestNode } from "../cluster/lab.ts";
import { Browser, chromium } from "./browser.ts";

const AXE = join(import.meta.dir, "../../node_modules/axe-core/axe.min.js");
const MAX_BYTES = 200_000;

describe("the document", () => {
  test("is small, and asks no other place for anything", () => {
    expect(Buffer.byteLength(PAGE)).toBeLessThan(MAX_BYTES);
    expect(PAGE.match(/(?:src|href)="(?!\/|#|data:)[^"]*"/g)).toBeNull();
    expect(PAGE.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:\/\//);
  });
  test("permits its own script and style by their hashes, and nothing in line", () => {
    expect(PAGE_POLICY).toContain("default-src 'none'");
    expect(PAGE_POLICY).not.toContain("unsafe");
    expect(PAGE).not.toMatch(/ (?:style|on\w+)=/);
  });
});

describe.skipIf(chromium === null)("in Chromium", () => {
  /** Offences that axe-core finds, a line each. */
  async function barriers(browser: Browser): Promise<string[]> {
    await browser.evaluate(`${readFileSync(AXE, "utf8")}; null`);
    return browser.evaluate<string[]>(
      "axe.run().then((r) => r.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(' ')}`))",
    );
  }
  const click = (browser: Browser, label: string): Promise<void> =>
    browser.evaluate(`document.querySelector('[aria-label=${JSON.stringify(label)}]').click()`);
  const text = (id: string): string => `document.getElementById(${JSON.stringify(id)}).innerText`;
  const answer = (browser: Browser, label: string): Promise<void> =>
    browser.evaluate(
      `[...document.querySelectorAll("#dialog-actions button")].find((b) => b.textContent === ${JSON.stringify(label)}).click()`,
    );

  test("loads, follows writes, conflicts, a lost node, a lost majority and a removal", async () => {
    const cluster = await TestCluster.start({
      ...{ shards: 1, quiet: true },
      schema:
        "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, mail TEXT); INSERT INTO users VALUES(7, 'Bea', 'b@shop')",
    });
    const browser = await Browser.start();
    try {
      const [a, b, c] = cluster.nodes as [TestNode, TestNode, TestNode];
      await cluster.settle();
      await browser.view({ width: 1280, height: 900 });
      await browser.open(`http://127.0.0.1:${a.admin}/`);
      await browser.until("document.title.startsWith('● n0 ready')");
      await browser.until(`${text("banner")}.includes("3 of 3 voters in touch, 1 machine may fail")`);
      await browser.until(`${text("tables")}.includes("users")`);
      expect(
        await browser.evaluate<string[]>(
          "[...document.querySelectorAll('#nodes b')].map((b) => b.textContent)",
        ),
      ).toEqual(["n0", "n1", "n2"]);
      expect(await barriers(browser)).toEqual([]);

      await test390(browser);
      await browser.view({ width: 1280, height: 900, scheme: "dark" });
      expect(await barriers(browser)).toEqual([]);

      // The change feed, live.
      await browser.evaluate("document.getElementById('feed-button').click()");
      await browser.until(`${text("feed")}.includes("Nothing was written")`);
      b.run("INSERT INTO users VALUES(8, 'Ada', 'ada@shop')");
      await browser.until(`${text("feed")}.includes("insert users") && ${text("feed")}.includes("Ada")`);
      expect(await barriers(browser)).toEqual([]);
      await browser.evaluate("document.getElementById('feed-button').click()");

      // A conflict: two nodes write the row while they do not hear each other.
      await c.pause();
      a.run("UPDATE users SET name = 'B. Smith' WHERE id = 7");
      c.run("UPDATE users SET name = 'Bea Smith' WHERE id = 7");
      c.signal("SIGCONT");
      await browser.until(`${text("conflicts")}.includes("users 7")`);
      await browser.until(`${text("conflicts")}.includes("Smith”")`);
      await click(browser, "Compare users 7");
      await browser.until("document.getElementById('dialog').open");
      const marked = "[...document.querySelectorAll('#dialog .differs')].map((d) => d.textContent).sort()";
      expect(await browser.evaluate<string[]>(marked)).toEqual(["B. Smith", "Bea Smith"]);
      expect(await barriers(browser)).toEqual([]);
      const lost = await browser.evaluate<string>("document.querySelector('#dialog .differs').textContent");
      await answer(browser, "Restore");
      await browser.until("!document.getElementById('dialog').open");
      await cluster.settle();
      expect(b.query("SELECT name FROM users WHERE id = 7")).toEqual([[lost]]);

      // A node dies, and returns.
      await c.kill();
      await browser.until("document.title.startsWith('▲')");
      await browser.until(`${text("banner")}.includes("no further machine may fail")`);
      expect(await browser.evaluate<string>(text("banner"))).toContain("marmot members remove n2");
      await browser.until(`${text("events")}.includes("n2 is silent")`);
      expect(await barriers(browser)).toEqual([]);
      await c.start();
      await browser.until("document.title.startsWith('● n0 ready')");
      await browser.until(`${text("events")}.includes("n2 is back")`);

      // The majority is lost, and returns.
      await Promise.all([b.kill(), c.kill()]);
      await browser.until("document.title.startsWith('✖')");
      await browser.until(`${text("banner")}.includes("no majority")`);
      await Promise.all([b.start(), c.start()]);
      await browser.until("document.title.startsWith('● n0 ready')");

      // A member is removed: the dialog is reached by the keyboard, and Escape leaves everything as it is.
      await browser.evaluate("document.querySelector('[aria-label=\"Remove n2\"]').focus()");
      await browser.press("Enter");
      await browser.until("document.getElementById('dialog').open");
      await browser.press("Escape");
      await browser.until("!document.getElementById('dialog').open");
      expect(await browser.evaluate<string>("document.activeElement.getAttribute('aria-label')")).toBe(
        "Remove n2",
      );
      await click(browser, "Remove n2");
      await answer(browser, "Remove n2");
      await browser.until("document.querySelectorAll('#nodes tbody tr').length === 2");
      await browser.until(`${text("banner")}.includes("two voters")`);

      // The node itself stops, and the page says so.
      await a.kill();
      await browser.until("document.title.startsWith('✖ n0')");
      const others = browser.requests.filter(
        (url) => !url.startsWith(`http://127.0.0.1:${a.admin}/`) && url !== "about:blank",
      );
      expect(others).toEqual([]);
      expect(browser.complaints.filter((c) => !/ERR_(?:CONNECTION|EMPTY)|\[DOM\]/.test(c))).toEqual([]);
    } finally {
      await browser.stop();
      await cluster.stop();
    }
  }, 180_000);

  async function test390(browser: Browser): Promise<void> {
    await browser.view({ width: 390, height: 844 });
    const widest = await browser.evaluate<number>("document.documentElement.scrollWidth");
    expect(widest).toBeLessThanOrEqual(390);
    expect(await barriers(browser)).toEqual([]);
  }

  test("with a token: a form, a session in a cookie that scripts cannot read, and its end", async () => {
    const cluster = new TestCluster(1, 1);
    const browser = await Browser.start();
    try {
      const [node] = cluster.nodes as [TestNode];
      node.run("PRAGMA journal_mode = WAL", "CREATE TABLE t(id INTEGER PRIMARY KEY)");
      const tokenFile = join(cluster.folder, "token");
      writeFileSync(tokenFile, "a-long-secret\n");
      await node.start(["--admin-token-file", tokenFile]);
      await browser.view({ width: 1280, height: 900 });
      await node.answers();
      await browser.open(`http://127.0.0.1:${node.admin}/`);
      await browser.until("!document.getElementById('login').hidden");
      expect(await barriers(browser)).toEqual([]);
      const login = (token: string): Promise<void> =>
        browser.evaluate(
          `document.getElementById("token").value = ${JSON.stringify(token)}; document.getElementById("login").requestSubmit()`,
        );
      await login("not-the-secret");
      await browser.until(`${text("login-error")} !== ""`);
      await login("a-long-secret");
      await browser.until("document.title.includes('ready')");
      expect(await browser.evaluate<string>("document.cookie")).toBe("");
      await browser.open(`http://127.0.0.1:${node.admin}/`);
      await browser.until("document.title.includes('ready')");
      // A form of another page has the cookie at most, and not the header.
      const forged = "fetch('/api/v1/verify', { method: 'POST' }).then((r) => r.status)";
      expect(await browser.evaluate<number>(forged)).toBe(403);
      await browser.evaluate("document.getElementById('logout').hidden = false");
      await browser.evaluate("document.getElementById('logout').click()");
      await browser.until("!document.getElementById('login').hidden");
    } finally {
      await browser.stop();
      await cluster.stop();
    }
  }, 120_000);
});

// What the drivers share: a browser with a page, and what it complains about.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const PATIENCE_MS = 20_000;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

/** Opens a browser in a time zone, lets `drive` use its page, prints what was seen, and fails where the page complained of more than `expected`. */
export async function drives(folder, expected, drive, timezoneId = "UTC") {
  const profile = mkdtempSync(join(tmpdir(), "netrewind-view-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM, headless: true, args: FLAGS, acceptDownloads: true, viewport: { width: 1400, height: 1000 }, timezoneId,
    // Certificates of tests are signed by nobody.
    ignoreHTTPSErrors: true,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  const page = context.pages()[0] ?? await context.newPage();
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`${message.text()} ${message.location().url ?? ""}`.trim());
  });
  page.on("pageerror", (error) => complaints.push(error.stack ?? String(error)));
  // What the content policy forbids is not always an error of the console.
  await page.exposeFunction("netrewindComplain", (text) => complaints.push(text));
  await page.addInitScript(() => addEventListener("securitypolicyviolation", (event) => {
    window.netrewindComplain(`content policy: ${event.violatedDirective} ${event.blockedURI}`);
  }));
  const seen = {};
  const shot = (name) => page.screenshot({ path: join(folder, `${name}.png`), fullPage: false });
  try {
    await drive({ context, page, seen, shot });
    assert.deepEqual(complaints.filter((text) => !expected.some((known) => text.includes(known))), [], "the page complains");
  } catch (error) {
    await shot("failed").catch(() => undefined);
    throw error;
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 3 });
  }
  console.log(JSON.stringify(seen));
}

const AXE = readFileSync(join(import.meta.dirname, "../node_modules/axe-core/axe.min.js"), "utf8");
const DESK = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

/** Asserts that a state of the page fits a desk and a phone, and that axe finds nothing in it, also in the dark; and takes its pictures. */
export async function examine(page, shot, state, { dark = true, arrange = async () => {} } = {}) {
  for (const [name, size, colorScheme] of [["desk", DESK, "light"], ["phone", PHONE, "light"], ...(dark ? [["dark", DESK, "dark"]] : [])]) {
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme });
    await page.waitForTimeout(300);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= size.width, `${state} is ${wide} pixels wide of ${size.width}`);
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => window.axe.run(document));
    const told = violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 4).map((node) => `${node.target} ${node.failureSummary}`).join(" | ")}`);
    assert.deepEqual(told, [], `${state}, ${name}`);
    await arrange();
    await shot(`${state}-${name}`);
  }
  await page.setViewportSize(DESK);
  await page.emulateMedia({ colorScheme: "light" });
}

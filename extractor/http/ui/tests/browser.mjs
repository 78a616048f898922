// What the drivers share: a browser with a page, and what it complains about.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
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

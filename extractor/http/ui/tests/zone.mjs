// Looks from another time zone: node tests/zone.mjs URL FOLDER
//
// The store behind URL holds what tests/view.rs put there.

import assert from "node:assert/strict";
import { drives } from "./browser.mjs";

const [address, folder] = process.argv.slice(2);
const ZONE = "Europe/Rome";

await drives(folder, [], async ({ page, seen }) => {
  const first = page.locator(".lists tbody tr td").first();
  const from = page.getByLabel("From", { exact: true });
  await page.goto(`${address}?from=all&sort=start`);
  await first.waitFor();
  seen.first = await first.innerText();
  seen.zone = await page.locator(".zone").innerText();
  assert.match(seen.zone, /^Europe\/Rome \(UTC\+0[12]:00\)$/);

  // What is typed is meant in that zone, and the link means the same everywhere.
  await from.fill("2026-11-22 10:20");
  await from.press("Enter");
  await page.waitForURL(/from=2026-11-22T09%3A20%3A00Z/);
  await page.waitForFunction((before) => document.querySelector(".lists tbody td")?.innerText !== before, seen.first);
  seen.narrowed = await first.innerText();
  assert.equal(await from.inputValue(), "2026-11-22 10:20:00");

  // Words that only the service reads are sent with the zone.
  const asked = page.waitForRequest((request) => request.url().includes("/summary?from=yesterday"));
  await from.fill("yesterday 14:00");
  await from.press("Enter");
  seen.asked = new URL((await asked).url()).searchParams.get("tz");
  assert.equal(seen.asked, ZONE);
}, ZONE);

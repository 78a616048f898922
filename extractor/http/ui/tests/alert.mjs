// Pastes alerts of other tools: node tests/alert.mjs URL FOLDER ALERTS.json, where the file has texts by name.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { drives, examine } from "./browser.mjs";

const [address, folder, file] = process.argv.slice(2);
const alerts = JSON.parse(readFileSync(file, "utf8"));

// What cannot be read is answered with 400, which browsers print as an error.
await drives(folder, ["status of 400"], async ({ context, page, seen, shot }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const start = async () => {
    await page.goto(`${address}?from=all`);
    await page.locator(".lists tbody tr").first().waitFor();
  };
  const settled = () => page.waitForFunction(() => document.querySelector("[aria-busy=true]") === null);
  const paste = async (text) => {
    await page.evaluate((text) => navigator.clipboard.writeText(text), text);
    await page.keyboard.press("Control+V");
  };
  const button = page.getByRole("button", { name: "Alert", exact: true });
  for (const [name, text] of Object.entries(alerts)) {
    await start();
    await button.click();
    await paste(text);
    await page.locator(".alert .said").waitFor();
    await page.waitForURL(/filter=|search=/);
    // What was shown before is asked for no more.
    await page.waitForTimeout(400);
    await settled();
    const parameters = new URL(page.url()).searchParams;
    seen[name] = {
      said: await page.locator(".alert .said").innerText(),
      totals: await page.locator(".series .totals").innerText(),
      filter: parameters.get("filter"), search: parameters.get("search"), from: parameters.get("from"), to: parameters.get("to"),
    };
    await shot(name);
  }

  // Into the filter's field, where it is no filter.
  await start();
  await page.locator("#filter").focus();
  await paste(alerts.eve);
  await page.locator(".alert .said").waitFor();
  seen.in_filter = new URL(page.url()).searchParams.get("filter");

  // What cannot be read says so at the field, and Escape leaves all as it was.
  await start();
  const before = page.url();
  await button.click();
  await paste("10.0.0.5 is suspicious");
  await page.locator("#alert-problem:not(:empty)").waitFor();
  seen.problem = await page.locator("#alert-problem").innerText();
  assert.equal(await page.locator("#alert-text").getAttribute("aria-invalid"), "true");
  await examine(page, shot, "problem", { dark: false });
  await page.locator("#alert-text").focus();
  await page.keyboard.press("Escape");
  await page.locator("#alert-text").waitFor({ state: "detached" });
  assert.equal(page.url(), before);
});

// Chooses a recorder as a person would: node tests/recorders.mjs URL FOLDER ID TOKEN
//
// ID is a recorder that is whole; another cannot be read. The last line printed is one JSON object for the caller.

import assert from "node:assert/strict";
import { drives, examine } from "./browser.mjs";

const [address, folder, id, token] = process.argv.slice(2);

// What a token is wanted for is answered with 401, which browsers print as an error.
await drives(folder, ["status of 401"], async ({ page, seen, shot }) => {
  await page.goto(address);
  await page.locator(".sign-in").waitFor();
  await page.fill("#token", token);
  await page.press("#token", "Enter");
  const rows = page.locator(".recorders tbody tr");
  await rows.first().waitFor();
  seen.rows = await rows.allInnerTexts();
  await examine(page, shot, "recorders");
  await page.getByRole("link", { name: id }).click();
  await page.waitForURL(`**/recorders/${id}/**`);
  await page.locator(".lists tbody tr").first().waitFor();
  seen.state = await page.locator(".state").innerText();
  await page.locator(".packets a[download]").first().waitFor();
  seen.download = await page.locator(".packets a[download]").first().getAttribute("href");
  await shot("recorder");
  await page.getByRole("link", { name: "All recorders" }).click();
  await rows.first().waitFor();
  assert.equal(new URL(page.url()).pathname, "/");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.locator(".sign-in").waitFor();
  assert.equal(await rows.count(), 0);
});

// Looks where nothing is stored: node tests/empty.mjs URL FOLDER

import assert from "node:assert/strict";
import { drives } from "./browser.mjs";

const [address, folder] = process.argv.slice(2);

await drives(folder, [], async ({ page, seen, shot }) => {
  await page.goto(address);
  await page.locator(".welcome").waitFor();
  assert.equal(await page.locator("main .card").count(), 1, "there is one card");
  seen.welcome = await page.locator(".welcome").innerText();
  await shot("welcome");
});

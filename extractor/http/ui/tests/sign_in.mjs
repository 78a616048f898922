// Signs in and out as a person would: node tests/sign_in.mjs URL FOLDER TOKEN FLOWS_TOKEN
//
// TOKEN may do everything, FLOWS_TOKEN may look at flows only. The last line printed is one JSON object for the caller.

import assert from "node:assert/strict";
import { drives } from "./browser.mjs";

const [address, folder, token, flowsToken] = process.argv.slice(2);

// What a token is wanted for, or may not do, is answered with 401 and 403, which browsers print as errors.
await drives(folder, ["status of 401", "status of 403"], async ({ context, page, seen, shot }) => {
  const form = page.locator(".sign-in");
  const rows = page.locator(".lists tbody tr");
  const signIn = async (text) => {
    await page.fill("#token", text);
    await page.press("#token", "Enter");
  };
  const signOut = page.getByRole("button", { name: "Sign out" });

  await page.goto(`${address}?from=all`);
  await form.waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "token", "one can type at once");
  assert.equal(await rows.count(), 0);
  await shot("sign-in");

  await signIn("nrw_wrong_token");
  await form.getByRole("alert").waitFor();
  seen.refusal = await form.getByRole("alert").innerText();
  assert.equal(await page.inputValue("#token"), "", "what was refused is not kept");
  assert.equal(await page.evaluate(() => document.activeElement.id), "token");
  await shot("refused");

  await signIn(token);
  await rows.first().waitFor();
  assert.equal(await form.count(), 0);
  await page.locator(".packets a[download]").first().waitFor();
  const [cookie, ...others] = await context.cookies();
  assert.deepEqual(others, []);
  assert.ok(cookie.httpOnly && cookie.secure && cookie.sameSite === "Strict", JSON.stringify(cookie));
  seen.copied = await page.getByRole("button", { name: "Copy Wireshark command" }).getAttribute("title");
  await page.reload();
  await rows.first().waitFor();
  seen.status = await page.locator(".state").innerText();

  await signOut.click();
  await form.waitFor();
  assert.equal(await rows.count(), 0, "nothing is left to look at");
  assert.deepEqual(await context.cookies(), []);
  assert.equal(await signOut.count(), 0);
  await page.reload();
  await form.waitFor();

  await signIn(flowsToken);
  await rows.first().waitFor();
  await page.locator(".packets .none").waitFor();
  assert.equal(await page.locator("a[download]").count(), 0, "no packets for this token");
  assert.equal(await page.locator(".state").count(), 0, "how the recorder is, is not for this token");
  await rows.first().click();
  await page.locator(".panel dl").waitFor();
  assert.equal(await page.locator("a[download]").count(), 0);
  assert.equal(await page.getByRole("button", { name: "Follow stream" }).count(), 0);
  await shot("flows-only");
  // What was refused once is not asked for again and again.
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await page.waitForTimeout(6000);
  assert.ok(asked.some((url) => url.includes("/summary")), "the page is live");
  assert.deepEqual(asked.filter((url) => url.includes("/status") || url.includes("/packets")), []);
  seen.flows = await rows.count();
});

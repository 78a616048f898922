// Signs in at an issuer of OpenID Connect, as a person would: node tests/oidc.mjs URL FOLDER ISSUER
//
// Who signs in first has rights, and who does after that has none. The last line printed is one JSON object for the caller.

import assert from "node:assert/strict";
import { drives, examine } from "./browser.mjs";

const [address, folder, issuer] = process.argv.slice(2);

// What a session is wanted for is answered with 401, and who has no rights with 403, which browsers print as errors; and for a refusal, which is
// no page, they look for a picture.
await drives(folder, ["status of 401", "status of 403", "favicon.ico"], async ({ context, page, seen, shot }) => {
  const form = page.locator(".sign-in");
  const rows = page.locator(".lists tbody tr");
  const link = form.getByRole("link", { name: "Sign in with your organisation's account" });
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));

  await page.goto(`${address}?from=all&filter=tcp+port+80`);
  await link.waitFor();
  await examine(page, shot, "sign-in");
  await link.click();
  await rows.first().waitFor();
  assert.ok(asked.some((url) => url.startsWith(`${issuer}/authorize?`)), "the browser was at the issuer");
  seen.filter = new URL(page.url()).searchParams.get("filter");
  assert.equal(new URL(page.url()).searchParams.get("code"), null, "nothing of the sign-in is left in the address");
  const [cookie, ...others] = await context.cookies();
  assert.deepEqual(others, []);
  assert.ok(cookie.httpOnly && cookie.secure && cookie.sameSite === "Strict", JSON.stringify(cookie));
  // What is too long for an address is asked by POST, for which the session has to do.
  seen.counted = await page.evaluate(async () => {
    const body = new URLSearchParams({ filter: "tcp port 80" });
    const answers = await Promise.all(["count", "estimate"].map((name) => fetch(`api/v1/packets/${name}`, { method: "POST", body })));
    const [counted, estimated] = await Promise.all(answers.map((answer) => answer.json()));
    return counted.packets === estimated.packets_max ? counted.packets : null;
  });
  await page.waitForTimeout(500);
  await shot("signed-in");
  await page.reload();
  await rows.first().waitFor();

  await page.getByRole("button", { name: "Sign out" }).click();
  await link.waitFor();
  assert.equal(await rows.count(), 0, "nothing is left to look at");
  assert.deepEqual(await context.cookies(), []);
  await link.click();
  await page.waitForURL(/callback/);
  seen.refused = await page.locator("body").innerText();
  await shot("no-rights");
  assert.deepEqual(await context.cookies().then((all) => all.filter((one) => one.name === "__Host-netrewind")), []);
});

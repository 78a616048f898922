// Drives the page in Chromium as a person would: node tests/drive.mjs URL FOLDER
//
// The store behind URL holds what tests/view.rs put there. Screenshots and downloads go into FOLDER; the last line printed
// is one JSON object for the caller to hold against the command line.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { drives } from "./browser.mjs";

const [address, folder] = process.argv.slice(2);
let context, page, seen, shot;

// A refused filter is answered with 400, and a case that is held with 409, which browsers print as errors.
await drives(folder, ["status of 400", "status of 409"], async (browser) => {
  ({ context, page, seen, shot } = browser);
  await draws();
  await zooms();
  await searches();
  await refusesABadFilter();
  await filters();
  await opensAFlow();
  await downloads();
  await downloadsWithManifest();
  await holds();
  await obeysTheKeyboard();
  await remembersInTheAddress();
  await looksRightElsewhere();
});

async function draws() {
  const begun = Date.now();
  await page.goto(`${address}?from=all`);
  await page.locator(".series canvas").first().waitFor();
  await page.locator(".lists tbody tr").first().waitFor();
  seen.loaded_ms = Date.now() - begun;
  seen.totals = await page.locator(".series .totals").innerText();
  seen.hosts = await page.locator(".tops .top").first().locator("li .name").allInnerTexts();
  await page.locator(".graph circle").first().waitFor();
  await page.waitForTimeout(1500);
  await shot("page");
}

async function zooms() {
  const plot = page.locator(".series .u-over");
  const box = await plot.boundingBox();
  const y = box.y + box.height / 2;
  await page.mouse.move(box.x + box.width * 0.25, y);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.75, y, { steps: 8 });
  await page.mouse.up();
  await page.waitForURL(/from=.*to=/);
  const parameters = new URL(page.url()).searchParams;
  assert.ok(Date.parse(parameters.get("from")) < Date.parse(parameters.get("to")), page.url());
  seen.zoomed = { from: parameters.get("from"), to: parameters.get("to") };
  await page.goBack();
  await page.waitForURL((url) => !url.searchParams.has("to"));
}

async function searches() {
  const box = page.locator(".search input");
  await box.fill("http_host:example.com AND bytes:>500");
  await box.press("Enter");
  await page.waitForURL(/search=/);
  await page.waitForFunction((before) => {
    const now = document.querySelector(".series .totals")?.innerText ?? before;
    return now !== before && document.querySelector(".lists tbody tr .label")?.textContent.includes("example.com");
  }, seen.totals);
  seen.found = await page.locator(".series .totals").innerText();
  await box.fill("http_host:example.org");
  await box.press("Enter");
  await page.locator(".lists .empty").waitFor();
  await box.fill("colour:red");
  await box.press("Enter");
  await page.locator("#search-problem:not(:empty)").waitFor();
  assert.equal(await page.locator(".problem:not(:empty)").count(), 1, "what is wrong is told once");
  assert.ok(await page.locator(".lists.old").count() === 1, "what was there before is dimmed");
  await box.fill("");
  await box.press("Enter");
  await page.locator(".lists tbody tr").first().waitFor();
}

async function refusesABadFilter() {
  await page.fill("#filter", "host 10.0.0.1 and prot 5");
  const problem = page.locator("#filter-problem");
  await problem.locator("span").waitFor();
  assert.ok(await page.getByRole("button", { name: "Apply" }).isDisabled());
  seen.problem = await problem.innerText();
  await shot("bad-filter");
}

async function filters() {
  const host = seen.hosts[0];
  await page.fill("#filter", `host ${host} and tcp`);
  await page.press("#filter", "Enter");
  await page.waitForURL(/filter=/);
  await page.waitForFunction((wanted) => {
    const rows = [...document.querySelectorAll(".lists tbody tr")];
    return rows.length > 0 && rows.every((row) => row.textContent.includes(wanted) && row.textContent.includes("tcp"));
  }, host);
  seen.filter = `host ${host} and tcp`;
  await page.waitForFunction(() => document.querySelector("[aria-busy=true]") === null);
  seen.much = await page.locator(".series .totals b").nth(1).innerText();
  assert.equal(await page.locator(".packets .much").count(), 0, "there is one count on the page");
}

async function opensAFlow() {
  await page.locator(".lists tbody tr").first().click();
  await page.locator(".panel h2").waitFor();
  await page.waitForURL(/flow=/);
  await page.getByRole("button", { name: "Follow stream" }).click();
  await page.locator(".chunks pre").first().waitFor();
  seen.stream = (await page.locator(".chunks").innerText()).slice(0, 2000);
  await shot("flow");
  seen.flow_download = await download(page.locator(".panel").getByRole("link", { name: "Download pcap" }), "flow.pcap");
  await page.keyboard.press("Escape");
  await page.locator(".panel").waitFor({ state: "detached" });
}

async function downloads() {
  seen.download = await download(page.locator(".packets").getByRole("link", { name: "Download pcap" }), "download.pcap");
}

/** The packets, and beside them their manifest. */
async function downloadsWithManifest() {
  const files = [];
  const save = (file) => files.push(file);
  page.on("download", save);
  await page.getByRole("button", { name: "Download with manifest" }).click();
  await page.locator(".vouched a").waitFor();
  await page.waitForFunction(() => document.querySelector(".vouched")?.textContent.includes("SHA-256"));
  for (let wait = 0; files.length < 2 && wait < 50; wait += 1) await page.waitForTimeout(100);
  page.off("download", save);
  // The browser announces the two in either order.
  files.sort((one, other) => one.suggestedFilename().localeCompare(other.suggestedFilename()));
  await mkdir(join(folder, "vouched"), { recursive: true });
  for (const file of files) await file.saveAs(join(folder, "vouched", file.suggestedFilename()));
  seen.vouched = { files: files.map((file) => file.suggestedFilename()), said: await page.locator(".vouched").innerText() };
  await shot("vouched");
}

async function holds() {
  await page.getByRole("button", { name: "Hold" }).click();
  await page.locator(".hold input[name=case]").fill("INC-2041");
  await page.locator(".hold input[name=note]").fill("seen on the page");
  await shot("hold");
  await page.locator(".hold form button").click();
  await page.waitForFunction(() => document.querySelector(".hold [role=status]")?.textContent.includes("INC-2041"));
  seen.held = await page.locator(".hold [role=status]").innerText();
  // The same case again is refused, and the page says why.
  await page.getByRole("button", { name: "Hold", exact: true }).click();
  await page.locator(".hold input[name=case]").fill("INC-2041");
  await page.locator(".hold form button").click();
  await page.locator(".hold .bad").waitFor();
  assert.match(await page.locator(".hold .bad").innerText(), /has a hold already/);
  await page.getByRole("button", { name: "Hold", exact: true }).click();
}

async function download(link, name) {
  const address = await link.getAttribute("href");
  const [file] = await Promise.all([page.waitForEvent("download"), link.click()]);
  await file.saveAs(join(folder, name));
  return { address, suggested: file.suggestedFilename() };
}

/** From the top to a flow and back without a mouse. */
async function obeysTheKeyboard() {
  await page.locator("body").click({ position: { x: 5, y: 500 } });
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "filter");
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
  await page.locator("h1 a").focus();
  const way = [];
  for (let stop = 0; stop < 120; stop += 1) {
    const at = await page.evaluate(() => {
      const { activeElement: one } = document;
      const { outlineStyle, outlineWidth } = getComputedStyle(one);
      return {
        name: one.getAttribute("aria-label") ?? (one.labels?.[0]?.innerText || one.innerText).split("\n")[0].trim(),
        part: (one.closest(".pictures") ?? one.closest("header, .toolbar, .series, .packets, .tops, .pictures, .lists h2, thead, tbody"))?.className || one.closest(".lists h2, thead, tbody")?.tagName,
        shown: outlineStyle !== "none" && parseFloat(outlineWidth) > 0,
      };
    });
    assert.ok(at.shown, `one sees where one is: ${JSON.stringify(at)}`);
    way.push(at);
    if (at.part === "TBODY") break;
    await page.keyboard.press("Tab");
  }
  const parts = [...new Set(way.map(({ part }) => part?.split(" ").at(-1)))];
  assert.deepEqual(parts, ["strip", "toolbar", "series", "packets", "tops", "pictures", "H2", "THEAD", "TBODY"]);
  for (const name of ["15 min", "From", "To", "Filter", "Labels", "bits/s", "Download pcap", "Graph", "World", "Start"]) {
    assert.ok(way.some((at) => at.name.startsWith(name)), `${name} is reached: ${way.map((at) => at.name).join(", ")}`);
  }
  const row = await page.evaluateHandle(() => document.activeElement);
  await page.keyboard.press("Enter");
  await page.locator(".panel h2").waitFor();
  assert.ok(await page.evaluate(() => document.querySelector(".panel").contains(document.activeElement)), "the panel is where one is");
  await page.keyboard.press("Escape");
  await page.locator(".panel").waitFor({ state: "detached" });
  // One is back where one was.
  await page.waitForFunction((one) => one === document.activeElement, row);
}

/** All that can be looked at is in the link. */
async function remembersInTheAddress() {
  await page.selectOption("select", "any");
  await page.locator("thead button", { hasText: "Packets" }).click();
  await page.getByRole("button", { name: "World" }).click();
  await page.locator(".search input").fill("bytes:>500");
  await page.locator(".search input").press("Enter");
  await page.waitForURL(/search=/);
  await page.waitForFunction(() => document.querySelectorAll(".lists tbody tr").length > 0 && document.querySelector("[aria-busy=true]") === null);
  await page.waitForTimeout(500);
  await page.locator(".lists tbody tr").first().click();
  await page.waitForURL((url) => ["filter", "flow", "view", "sort", "picture", "search"].every((name) => url.searchParams.has(name)));
  const looks = async (on) => {
    await on.locator(".panel dl").waitFor();
    await on.locator(".lists tbody tr").first().waitFor();
    await on.waitForFunction(() => document.querySelector("[aria-busy=true]") === null && document.querySelector("main").innerText.includes("conversations"));
    await on.waitForTimeout(500);
    return {
      text: await on.locator("main").innerText(), panel: await on.locator(".panel").innerText(), pressed: await on.locator("[aria-pressed=true]").allInnerTexts(),
      fields: await on.locator("input, select").evaluateAll((all) => all.map((one) => one.value)),
    };
  };
  const other = await context.newPage();
  await other.goto(page.url());
  assert.deepEqual(await looks(other), await looks(page));
  await other.close();
  await page.keyboard.press("Escape");
}

async function looksRightElsewhere() {
  await page.emulateMedia({ colorScheme: "dark" });
  await page.waitForTimeout(1200);
  await shot("dark");
  await page.setViewportSize({ width: 390, height: 844 });
  await page.waitForTimeout(800);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 390, `the page is ${wide} pixels wide on a phone`);
  await shot("phone");
}

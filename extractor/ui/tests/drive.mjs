// Drives the page in Chromium as a person would: node tests/drive.mjs URL FOLDER
//
// The store behind URL holds what tests/view.rs put there. Screenshots and downloads go into FOLDER; the last line printed
// is one JSON object for the caller to hold against the command line.

import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [address, folder] = process.argv.slice(2);
const PATIENCE_MS = 20_000;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

const context = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), "netrewind-view-")), {
  executablePath: CHROMIUM, headless: true, args: FLAGS, acceptDownloads: true, viewport: { width: 1400, height: 1000 }, timezoneId: "UTC",
});
context.setDefaultTimeout(PATIENCE_MS);
const complaints = [];
const page = context.pages()[0] ?? await context.newPage();
page.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
page.on("pageerror", (error) => complaints.push(error.stack ?? String(error)));
const seen = {};
const shot = (name) => page.screenshot({ path: join(folder, `${name}.png`), fullPage: false });

try {
  await draws();
  await zooms();
  await searches();
  await refusesABadFilter();
  await filters();
  await opensAFlow();
  await downloads();
  await obeysTheKeyboard();
  await remembersInTheAddress();
  await looksRightElsewhere();
  // A refused filter is answered with 400, which browsers print as an error.
  const unexpected = complaints.filter((text) => !text.includes("status of 400"));
  assert.deepEqual(unexpected, [], "the page complains");
} finally {
  await context.close();
}
console.log(JSON.stringify(seen));

async function draws() {
  const begun = Date.now();
  await page.goto(`${address}?from=all`);
  await page.locator(".series canvas").first().waitFor();
  await page.locator(".flows tbody tr").first().waitFor();
  seen.loaded_ms = Date.now() - begun;
  seen.totals = await page.locator(".series .totals").innerText();
  seen.hosts = await page.locator(".tops .top").first().locator("li .name").allInnerTexts();
  await page.locator(".picture canvas").first().waitFor();
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
    return now !== before && document.querySelector(".flows tbody tr .label")?.textContent.includes("example.com");
  }, seen.totals);
  seen.found = await page.locator(".series .totals").innerText();
  await box.fill("http_host:example.org");
  await box.press("Enter");
  await page.locator(".flows .empty").waitFor();
  await box.fill("colour:red");
  await box.press("Enter");
  await page.locator(".flows .problem").waitFor();
  await box.fill("");
  await box.press("Enter");
  await page.locator(".flows tbody tr").first().waitFor();
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
    const rows = [...document.querySelectorAll(".flows tbody tr")];
    return rows.length > 0 && rows.every((row) => row.textContent.includes(wanted) && row.textContent.includes("tcp"));
  }, host);
  seen.filter = `host ${host} and tcp`;
  seen.much = await page.locator(".packets .much").innerText();
}

async function opensAFlow() {
  await page.locator(".flows tbody tr").first().click();
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

async function download(link, name) {
  const address = await link.getAttribute("href");
  const [file] = await Promise.all([page.waitForEvent("download"), link.click()]);
  await file.saveAs(join(folder, name));
  return { address, suggested: file.suggestedFilename() };
}

async function obeysTheKeyboard() {
  await page.locator("body").click({ position: { x: 5, y: 500 } });
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "filter");
  const row = page.locator(".flows tbody tr").first();
  await row.focus();
  await page.keyboard.press("Enter");
  await page.locator(".panel h2").waitFor();
}

async function remembersInTheAddress() {
  const link = page.url();
  const other = await context.newPage();
  await other.goto(link);
  await other.locator(".panel h2").waitFor();
  assert.equal(await other.inputValue("#filter"), seen.filter);
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

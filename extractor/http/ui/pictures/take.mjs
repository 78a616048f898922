// Takes the pictures of docs/: node pictures/take.mjs URL FOLDER
//
// The store behind URL holds what office.py wrote, and more of it is being recorded.

import { join } from "node:path";
import { drives } from "../tests/browser.mjs";

const [address, folder] = process.argv.slice(2);
/** Until a picture of hosts has come to rest. */
const REST_MS = 2500;

await drives(folder, [], async ({ page }) => {
  const minutesAgo = (minutes) => new Date(Date.now() - minutes * 60_000).toISOString();
  const take = (name, height) => page.screenshot({ path: join(folder, `view${name}.png`), clip: { x: 0, y: 0, width: page.viewportSize().width, height } });
  const show = async (parameters, [width, height]) => {
    await page.setViewportSize({ width, height });
    await page.goto(`${address}?${new URLSearchParams(parameters)}`);
    await page.locator(".lists tbody tr").first().waitFor();
    await page.locator(parameters.picture === "map" ? ".picture canvas" : ".graph circle").first().waitFor();
    await page.waitForTimeout(REST_MS);
  };
  const wide = [1280, 1180];

  await show({ from: "19min ago" }, wide);
  await take("", 1180);

  // A drag across the series, and a filter.
  await show({ from: "19min ago", filter: "port 443 and net 10.20.4.0/24" }, wide);
  const box = await page.locator(".series .u-over").boundingBox();
  await page.mouse.move(box.x + box.width * 0.2, box.y + 90);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.42, box.y + 90, { steps: 8 });
  await page.mouse.up();
  await page.waitForURL(/to=/);
  await page.waitForTimeout(REST_MS);
  await page.mouse.move(box.x + box.width * 0.62, box.y + 90);
  await page.waitForTimeout(200);
  await take("-filter", 820);

  await show({ from: "19min ago", filter: "tcp port 80", tab: "packets" }, [1280, 900]);
  await page.locator(".lists").evaluate((one) => scrollTo(0, one.offsetTop - 60));
  await page.locator(".packet-table tbody tr").nth(3).click();
  await page.locator(".panel pre.bytes").waitFor();
  await page.locator(".tree > details > summary").last().click();
  await page.locator(".tree .field").filter({ hasText: /^Host/ }).click();
  await page.locator(".panel").evaluate((one) => one.scrollTo(0, one.scrollHeight));
  await page.waitForTimeout(300);
  await take("-packets", 880);

  await page.emulateMedia({ colorScheme: "dark" });
  await show({ from: "19min ago", filter: "tcp port 80", sort: "start" }, [1280, 900]);
  await page.locator(".lists tbody tr").nth(3).click();
  await page.getByRole("button", { name: "Follow stream" }).click();
  await page.locator(".chunks pre").nth(1).waitFor();
  await page.waitForTimeout(500);
  await take("-flow", 900);

  await show({ from: "19min ago", picture: "map" }, [1280, 900]);
  await page.locator(".pictures").evaluate((one) => scrollTo(0, one.offsetTop - 60));
  await page.waitForTimeout(300);
  await take("-world", 640);

  await page.emulateMedia({ colorScheme: "light" });
  await show({ from: minutesAgo(10), to: minutesAgo(2) }, [390, 844]);
  await take("-phone", 844);
});

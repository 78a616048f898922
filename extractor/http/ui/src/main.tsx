// Before the address is read.
import "./comeback";
import { render } from "preact";

const root = document.getElementById("page");
const isOfSeveral = document.querySelector("meta[name=netrewind-recorders]") !== null;

// The page of a recorder begins to ask as soon as it is loaded.
async function show(root: HTMLElement): Promise<void> {
  if (isOfSeveral) {
    const { Recorders } = await import("./recorders");
    render(<Recorders />, root);
  } else {
    const { Page } = await import("./page");
    render(<Page />, root);
  }
}

if (root !== null) void show(root);

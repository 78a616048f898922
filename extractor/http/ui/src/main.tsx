// Before the address is read.
import "./comeback";
import { render } from "preact";
import { Page } from "./page";

const root = document.getElementById("page");
if (root !== null) render(<Page />, root);

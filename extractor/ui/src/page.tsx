// The page from top to bottom.

import { FlowPanel } from "./flow_panel";
import { FlowsTable } from "./flows_table";
import { Packets } from "./packets";
import { Pictures } from "./pictures";
import { Series } from "./series";
import { SignIn } from "./sign_in";
import { StatusStrip } from "./status_strip";
import { Toolbar } from "./toolbar";
import { Tops } from "./tops";

export function Page() {
  return (
    <>
      <StatusStrip />
      <main>
        <SignIn />
        <Toolbar />
        <Series />
        <Packets />
        <Tops />
        <Pictures />
        <FlowsTable />
      </main>
      <FlowPanel />
    </>
  );
}

// The page from top to bottom.

import { FlowPanel } from "./flow_panel";
import { FlowsTable } from "./flows_table";
import { Packets } from "./packets";
import { Pictures } from "./pictures";
import { isAskedForToken } from "./session";
import { Series } from "./series";
import { SignIn } from "./sign_in";
import { StatusStrip } from "./status_strip";
import { Toolbar } from "./toolbar";
import { Tops } from "./tops";

export function Page() {
  if (isAskedForToken.value) return <main><SignIn /></main>;
  return (
    <>
      <StatusStrip />
      <main>
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

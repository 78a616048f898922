// The page from top to bottom.

import { isNothingStored, summary } from "./api";
import { Lists } from "./lists";
import { Packets } from "./packets";
import { Panel } from "./panel";
import { Pictures } from "./pictures";
import { isAskedForToken } from "./session";
import { Series } from "./series";
import { SignIn } from "./sign_in";
import { StatusStrip } from "./status_strip";
import { Toolbar } from "./toolbar";
import { Tops } from "./tops";
import { Welcome } from "./welcome";

export function Page() {
  if (isAskedForToken.value) return <main><SignIn /></main>;
  if (isNothingStored.value) {
    return (
      <>
        <StatusStrip />
        <main><Welcome /></main>
      </>
    );
  }
  const isOld = summary.value.problem !== null;
  return (
    <>
      <StatusStrip />
      <main>
        <Toolbar />
        <Series />
        <Packets />
        <div class={isOld ? "old" : ""}><Tops /></div>
        <div class={isOld ? "old" : ""}><Pictures /></div>
        <Lists />
      </main>
      <Panel />
    </>
  );
}

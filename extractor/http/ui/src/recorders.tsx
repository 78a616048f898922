// The recorders that a service of several answers for: each is a link to its page.

import { useEffect } from "preact/hooks";
import { signal } from "@preact/signals";
import * as format from "./format";
import { hasSession, isAskedForToken, sessions, signOut } from "./session";
import { SignIn } from "./sign_in";
// It gives the page its colours.
import "./state";

const ADDRESS = "api/v1/recorders";
const AGAIN_AFTER_MS = 30_000;

interface RecorderState {
  rewind_to: string | null;
  newest: string | null;
  segments: number;
  writer: string | null;
  interfaces: { name: string }[];
  damaged: { part: string; reason: string }[];
}

interface ListedRecorder {
  id: string;
  path: string;
  status?: RecorderState;
  trouble?: string;
}

interface RecorderList {
  recorders: ListedRecorder[];
  trouble?: string;
}

const shown = signal<RecorderList | null>(null);
const problem = signal<string | null>(null);

async function ask(): Promise<void> {
  const response = await fetch(ADDRESS, { headers: { accept: "application/json" } }).catch(() => null);
  if (response?.ok === true) {
    shown.value = (await response.json()) as RecorderList;
    problem.value = null;
    return;
  }
  if (response?.status === 401) {
    isAskedForToken.value = true;
    return;
  }
  const told = await response?.json().catch(() => null) as { detail?: string } | null;
  problem.value = told?.detail ?? "The service does not answer";
}

export function Recorders() {
  const session = sessions.value;
  const isAsked = isAskedForToken.value;
  useEffect(() => {
    if (isAsked) return undefined;
    void ask();
    const timer = setInterval(() => void ask(), AGAIN_AFTER_MS);
    return () => clearInterval(timer);
  }, [session, isAsked]);
  if (isAsked) return <main><SignIn /></main>;
  const list = shown.value;
  return (
    <>
      <header class="strip">
        <h1>netrewind</h1>
        <span class="push" />
        {hasSession.value && <button type="button" class="plain" onClick={signOut}>Sign out</button>}
      </header>
      <main>
        <section class="card recorders" aria-busy={list === null && problem.value === null}>
          <h2>Recorders {list !== null && <small>{list.recorders.length} in this archive</small>}</h2>
          {problem.value !== null && <p class="bad" role="alert">{problem.value}</p>}
          {list?.trouble !== undefined && <p class="bad" role="alert">There may be others: {list.trouble}</p>}
          {list !== null && <Table recorders={list.recorders} />}
          <p class="empty">Packets and conversations of all of them together: <code>GET /api/v1/packets</code>, <code>GET /api/v1/flows</code></p>
        </section>
      </main>
    </>
  );
}

function Table({ recorders }: { recorders: ListedRecorder[] }) {
  return (
    <table>
      <thead><tr><th scope="col">Recorder</th><th scope="col">Interfaces</th><th scope="col">Rewind to</th><th scope="col">Newest packet</th><th scope="col">Segments</th></tr></thead>
      <tbody>{recorders.map((recorder) => <Row key={recorder.id} recorder={recorder} />)}</tbody>
    </table>
  );
}

function Row({ recorder: { id, path, status, trouble } }: { recorder: ListedRecorder }) {
  if (status === undefined) {
    return <tr><th scope="row"><code>{id}</code></th><td colSpan={4} class="bad">{trouble}</td></tr>;
  }
  const time = (at: string | null) => (at === null ? "–" : format.dayTime(at));
  return (
    <tr>
      <th scope="row">
        <a href={`.${path}`}><code>{id}</code></a>
        {status.damaged.map(({ part, reason }) => <p class="bad" key={part}>{part}: {reason}</p>)}
      </th>
      <td>{status.interfaces.map((one) => one.name).join(", ") || "–"}</td>
      <td>{time(status.rewind_to)}</td>
      <td>{time(status.newest)}</td>
      <td class="amount">{format.count(status.segments)}</td>
    </tr>
  );
}

// The HTTP API, and the answers on their way to it: in order, repeated until they arrive, kept over a reload.

export class Problem extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
  get passes() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export async function call(method, path, body) {
  const headers = { "X-Actlabel": "review" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch("/api/v1" + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Problem(0, "unreachable", "The gateway cannot be reached.");
  }
  const document = await response.json().catch(() => ({}));
  if (response.ok) return document;
  const { code = "unknown", message = `The gateway answered ${response.status}.` } = document.error ?? {};
  throw new Problem(response.status, code, message);
}

// Browsers rewrite the segments "." and "..", so these ids travel in the query.
export function itemPath(campaign, id, tail = "") {
  const base = `/campaigns/${encodeURIComponent(campaign)}/items/`;
  if ([".", "..", "-"].includes(id)) return `${base}-${tail}?id=${encodeURIComponent(id)}`;
  return base + encodeURIComponent(id) + tail;
}

const WAITS_MS = [500, 1000, 2000, 4000, 8000];

export class Sending {
  // `changed(waiting, failing)` is told whenever the number of unsent answers changes.
  constructor(storageKey, changed) {
    this.key = storageKey;
    this.changed = changed;
    this.acts = [];
    this.failures = 0;
    this.running = false;
    window.addEventListener("online", () => this.wake?.());
  }

  // kind: submit, undecidable, skip, undo. `item` carries the lease token, which an undo before it may renew.
  add(kind, campaign, item, body = {}) {
    return new Promise((resolve, reject) => {
      this.acts.push({ kind, campaign, item, body, resolve, reject });
      this.store();
      this.pump();
    });
  }

  // Takes an answer out again if it was never on its way. Says whether it was.
  withdraw(item) {
    const at = this.acts.findLastIndex((act) => act.item === item && act.kind !== "undo");
    if (at < 0 || (at === 0 && this.running)) return false;
    const [act] = this.acts.splice(at, 1);
    act.reject(new Problem(-1, "withdrawn", ""));
    this.store();
    return true;
  }

  // Sends again what an earlier page left behind.
  async resume() {
    const left = JSON.parse(localStorage.getItem(this.key) ?? "[]");
    const items = new Map();
    const all = left.map(({ kind, campaign, id, token, body }) => {
      if (!items.has(id) || token) items.set(id, { id, lease_token: token, version: 0 });
      return this.add(kind, campaign, items.get(id), body);
    });
    return (await Promise.allSettled(all)).filter((one) => one.status === "rejected").length;
  }

  store() {
    const plain = this.acts.map(({ kind, campaign, item, body }) => ({ kind, campaign, id: item.id, token: item.lease_token, body }));
    localStorage.setItem(this.key, JSON.stringify(plain));
    this.changed(this.acts.length, this.failures > 0);
  }

  async pump() {
    if (this.running) return;
    this.running = true;
    while (this.acts.length) await this.step(this.acts[0]);
    this.running = false;
  }

  async step(act) {
    try {
      const token = act.kind === "undo" ? {} : { lease_token: act.item.lease_token ?? "none" };
      const said = await call("POST", itemPath(act.campaign, act.item.id, "/" + act.kind), { ...token, ...act.body });
      if (act.kind === "undo") act.item.lease_token = said.item.lease_token;
      this.end(act, () => act.resolve(said));
    } catch (problem) {
      if (problem.status === 401) return this.leave();
      if (!problem.passes) return this.end(act, () => act.reject(problem));
      this.failures += 1;
      this.store();
      await this.pause(WAITS_MS[Math.min(this.failures, WAITS_MS.length) - 1]);
    }
  }

  end(act, settle) {
    this.acts.splice(this.acts.indexOf(act), 1);
    this.failures = 0;
    this.store();
    settle();
  }

  // What is unsent stays in localStorage and is sent after the login.
  leave() {
    location.replace("/login" + location.search);
    return new Promise(() => {});
  }

  pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => { clearTimeout(timer); resolve(); };
    });
  }
}

// A reviewer's work: items at hand, the answer being formed, what was answered. Knows nothing of the screen.
import { call, itemPath } from "./client.js";

const AT_HAND = 5;
const REFILL_BELOW = 4;
export const LOOK_MS = 200; // nobody reads faster: an Enter that comes sooner was meant for the item before

export class Desk extends EventTarget {
  constructor(campaign, sending) {
    super();
    this.campaign = campaign;
    this.sending = sending;
    this.path = `/campaigns/${encodeURIComponent(campaign.name)}`;
    this.tasks = { [campaign.version]: campaign.task };
    this.waiting = [];
    this.current = null;
    this.chosen = null;
    this.done = [];
    this.undone = [];
    this.history = null;
    this.at = -1;
    this.mustResume = true;
    this.wantsSkipped = false;
  }

  tell(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  task(item) {
    return this.tasks[item?.version] ?? this.campaign.task;
  }

  // --- items at hand ---
  async refill() {
    if (this.refilling) return (this.again = true);
    if (this.waiting.length >= REFILL_BELOW) return;
    this.refilling = true;
    this.again = false;
    const asked = { count: AT_HAND, resume: this.mustResume, skipped: this.wantsSkipped };
    this.wantsSkipped = false;
    try {
      const said = await call("POST", `${this.path}/claim`, asked);
      this.mustResume = false;
      Object.assign(this.tasks, said.tasks);
      said.items.forEach((item) => this.receive(item));
      this.tell("reached");
    } catch (problem) {
      this.mustResume = true; // perhaps the items were lent and only the answer was lost
      this.tell("problem", { problem });
    } finally {
      this.refilling = false;
    }
    if (!this.current) this.show(this.waiting.shift() ?? null);
    if (this.again) this.refill();
  }

  receive(item) {
    item.until = performance.now() + item.lease_seconds * 1000;
    const known = [this.current, ...this.waiting].find((one) => one?.id === item.id);
    if (known) return Object.assign(known, item);
    this.waiting.push(item);
    this.tell("coming", { item });
    return item;
  }

  next() {
    this.show(this.waiting.shift() ?? null);
    this.refill();
  }

  show(item, chosen = null) {
    this.current = item;
    this.chosen = chosen;
    this.since = performance.now();
    this.tell("item");
  }

  // --- answers ---
  choose(label) {
    if (this.at >= 0 ? !this.past : !this.current) return;
    this.chosen = label;
    this.tell("choice");
  }

  get suggested() {
    const label = this.current?.suggestion?.label;
    return this.task(this.current).labels.some((one) => one.name === label) ? label : null;
  }

  get seen() {
    return performance.now() - this.since >= LOOK_MS;
  }

  submit(comment) {
    const label = this.chosen ?? (this.seen ? this.suggested : null);
    if (!this.current || label === null) return false;
    this.send("submit", { label, seconds: this.seconds(), comment }, label);
    return true;
  }

  undecidable(comment) {
    if (this.current) this.send("undecidable", { seconds: this.seconds(), comment }, null);
  }

  skip(reason) {
    if (this.current) this.send("skip", { reason: reason.code }, null);
  }

  seconds() {
    return Math.round((performance.now() - this.since) / 10) / 100;
  }

  send(kind, body, label) {
    const entry = { item: this.current, kind, label, body, at: new Date() };
    this.done.push(entry);
    this.undone = this.undone.filter((one) => one.item.id !== entry.item.id);
    this.deliver(entry);
    this.next();
    this.tell("sent", entry);
  }

  async deliver(entry) {
    try {
      const said = await this.sending.add(entry.kind, this.campaign.name, entry.item, entry.body);
      this.tell("saved", { entry, said });
    } catch (problem) {
      if (problem.code === "withdrawn") return;
      this.done = this.done.filter((one) => one !== entry);
      this.tell("lost", { entry, problem });
    }
  }

  // --- undo and redo ---
  undo() {
    const entry = this.done.pop();
    if (!entry) return null;
    this.undone.push(entry);
    if (this.current) this.waiting.unshift(this.current);
    this.at = -1;
    this.show(entry.item, entry.label);
    if (!this.sending.withdraw(entry.item)) this.reopen(entry);
    return entry;
  }

  async reopen(entry) {
    try {
      const said = await this.sending.add("undo", this.campaign.name, entry.item);
      Object.assign(this.tasks, said.tasks);
      entry.item.until = performance.now() + said.item.lease_seconds * 1000;
      this.tell("reopened", { entry, published: said.published });
    } catch (problem) {
      if (problem.code === "withdrawn") return;
      this.drop(entry.item);
      this.tell("problem", { problem });
    }
  }

  redo() {
    const entry = this.undone.at(-1);
    if (!entry || this.current !== entry.item) return null;
    this.undone.pop();
    this.send(entry.kind, entry.body, entry.label);
    return entry;
  }

  drop(item) {
    this.waiting = this.waiting.filter((one) => one !== item);
    this.undone = this.undone.filter((one) => one.item !== item);
    if (this.current === item) this.next();
  }

  // --- leases ---
  // Leases go on while the person is there; without a sign of life the items return to the others.
  async keep() {
    const share = this.campaign.review.lease_seconds * 500;
    const short = [this.current, ...this.waiting].filter((item) => item && !item.keeping && item.until - performance.now() < share);
    await Promise.all(short.map((item) => this.extend(item)));
  }

  async extend(item) {
    item.keeping = true;
    try {
      const said = await call("POST", itemPath(this.campaign.name, item.id, "/extend"), { lease_token: item.lease_token });
      item.until = performance.now() + said.lease_seconds * 1000;
    } catch (problem) {
      if (problem.status === 409 && !this.done.some((one) => one.item === item)) {
        const wasCurrent = item === this.current;
        this.drop(item);
        if (wasCurrent) this.tell("lost", { entry: { item, label: null, kind: "extend" }, problem });
      }
    } finally {
      item.keeping = false;
    }
  }

  // --- one's own history; `at` counts back from the newest, -1 is the work at hand ---
  async back() {
    if (this.at < 0) this.history = (await call("GET", `${this.path}/history?limit=200`)).answers;
    if (this.at + 1 < this.history.length) await this.turn(this.at + 1);
    return this.past;
  }

  async forward() {
    if (this.at < 0) return;
    if (this.at === 0) this.work();
    else await this.turn(this.at - 1);
  }

  async turn(at) {
    const answer = this.history[at];
    const said = await call("GET", itemPath(this.campaign.name, answer.id));
    Object.assign(this.tasks, said.tasks);
    if (this.at < 0) this.parked = this.chosen;
    this.at = at;
    this.past = { item: said.item, answer };
    this.chosen = answer.label;
    this.tell("item");
  }

  work() {
    if (this.at < 0) return;
    this.at = -1;
    this.past = null;
    this.chosen = this.parked ?? null;
    this.tell("item");
  }

  // Another label for an answer of the past: a new revision.
  revise(comment) {
    const { item, answer } = this.past;
    if (this.chosen === null || this.chosen === answer.label) return false;
    const entry = { item, kind: "submit", label: this.chosen, body: { label: this.chosen, seconds: 0, comment }, at: new Date() };
    this.done = this.done.filter((one) => one.item.id !== item.id);
    this.done.push(entry);
    this.sending.add("undo", this.campaign.name, item).catch(() => {}); // the submit after it reports what is wrong
    this.deliver(entry);
    this.work();
    this.tell("sent", entry);
    return true;
  }
}

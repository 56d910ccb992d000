// Joins keys, desk and screen.
import { Problem, Sending, call, itemPath } from "./client.js";
import { Desk, LOOK_MS } from "./desk.js";
import { byId, make } from "./elements.js";
import { ACTIONS, chord } from "./keys.js";
import * as screen from "./screen.js";
import * as settings from "./settings.js";

let mine = settings.load();
let me, desk, sending, progress;
let lastSign = performance.now();

// --- start ---
async function start() {
  try {
    me = await call("GET", "/me");
    const { campaigns } = await call("GET", "/campaigns");
    sending = new Sending(`actlabel.unsent.${me.name}`, screen.drawSaving);
    const failed = await sending.resume();
    if (failed) screen.alarm(`${failed} answers of an earlier page came too late: others have these items now.`);
    fillCampaigns(campaigns);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 401) return location.replace("/login" + location.search);
    screen.alarm(problem.message);
    setTimeout(start, 3000);
  }
}

function fillCampaigns(campaigns) {
  const select = byId("campaign");
  select.replaceChildren(...campaigns.map((one) => make("option", { value: one.name }, one.name)));
  const asked = new URLSearchParams(location.search).get("campaign");
  const first = campaigns.find((one) => one.name === asked) ?? campaigns.find((one) => one.progress.items.waiting > 0) ?? campaigns[0];
  select.onchange = () => open(campaigns.find((one) => one.name === select.value));
  if (first) open(first);
  else screen.alarm("There is no campaign yet. `actlabel campaign apply` makes one.");
}

function open(campaign) {
  byId("campaign").value = campaign.name;
  history.replaceState(null, "", `/?campaign=${encodeURIComponent(campaign.name)}`);
  desk = new Desk(campaign, sending);
  progress = campaign.progress;
  screen.drawProgress(progress);
  screen.drawSaving(sending.acts.length, false);
  for (const [type, react] of Object.entries(REACTIONS)) desk.addEventListener(type, (event) => event.currentTarget === desk && react(event.detail));
  desk.refill();
  byId("campaign").blur();
}

// --- what the desk tells ---
const REACTIONS = {
  item: drawAll,
  choice: () => screen.drawChoiceState(desk, mine.keymap),
  coming: ({ item }) => item.content.filter((part) => part.kind === "image").forEach((part) => (new Image().src = screen.mediaUrl(desk.campaign.name, item, part))),
  sent: ({ kind, label }) => {
    const text = { submit: `Labelled “${label}”`, skip: "Skipped", undecidable: "Marked undecidable" }[kind];
    screen.toast(text, { seconds: Math.max(desk.campaign.review.undo_seconds, 4), undo: mine.keymap.shown("annotation:undo") });
    screen.drawActions(desk, mine.keymap);
  },
  saved: () => lookAtProgressSoon(),
  lost: ({ entry, problem }) => screen.alarm(entry.label === null ? problem.message : `“${entry.label}” was not saved for ${entry.item.id}. ${problem.message}`),
  reopened: ({ published }) => screen.toast(published ? "Already published: your next answer replaces it" : "Taken back"),
  problem: ({ problem }) => (problem.status === 401 ? location.replace("/login" + location.search) : screen.alarm(problem.message)),
  reached: () => (byId("alert").hidden = true),
};

function drawAll() {
  const item = desk.at >= 0 ? desk.past.item : desk.current;
  byId("comment").value = "";
  byId("comment-box").open = false;
  if (!item) return drawNothing();
  screen.drawItem(desk, item);
  screen.drawQuestion(desk, item, mine.keymap);
  screen.drawPast(desk);
  screen.drawChoiceState(desk, mine.keymap);
  screen.drawActions(desk, mine.keymap);
  setTimeout(() => screen.drawChoiceState(desk, mine.keymap), LOOK_MS + 10);
  byId("lease").hidden = desk.at >= 0;
  screen.drawLease(desk.at >= 0 ? null : item);
  const suggestion = item.suggestion ? `, suggested ${item.suggestion.label}` : "";
  screen.say(desk.at >= 0 ? "One of your answers" : `Next item${suggestion}`);
}

async function drawNothing() {
  if (byId("empty").hidden) screen.say("Nothing is waiting");
  screen.drawEmpty(progress, mine.keymap);
  await lookAtProgress();
}

let soon;
function lookAtProgressSoon() {
  clearTimeout(soon);
  soon = setTimeout(lookAtProgress, 300);
}

async function lookAtProgress() {
  try {
    progress = await call("GET", `${desk.path}/progress`);
  } catch {
    return; // the next look tries again
  }
  screen.drawProgress(progress);
  if (!desk.current && desk.at < 0) screen.drawEmpty(progress, mine.keymap);
}

// --- what the person does ---
function submit() {
  const comment = byId("comment").value.trim();
  if (desk.at >= 0) return desk.revise(comment) || screen.say("Choose another label first");
  if (desk.current && !desk.submit(comment)) {
    screen.say("Choose a label first");
    byId("choices").classList.remove("nudge");
    requestAnimationFrame(() => byId("choices").classList.add("nudge"));
  }
}

function pick(index) {
  const item = desk.at >= 0 ? desk.past.item : desk.current;
  const label = item && desk.task(item).labels[index];
  if (!label) return;
  desk.choose(label.name);
  if (mine.atOnce && desk.at < 0) submit();
  else screen.say(`${label.name} chosen`);
}

function openSkip() {
  if (!desk.current || desk.at >= 0) return;
  const dialog = byId("skip-dialog");
  const reasons = desk.campaign.skip_reasons.map((reason, index) => [String(index + 1), reason.text, () => desk.skip(reason)]);
  reasons.push(["U", "Nobody can decide this: mark it undecidable", () => desk.undecidable(byId("comment").value.trim())]);
  byId("skip-reasons").replaceChildren(...reasons.map(([key, text, act]) => {
    const button = make("button", { type: "button", class: "choice", "data-key": key.toLowerCase() }, make("kbd", {}, key), text);
    button.addEventListener("click", () => { dialog.close(); act(); });
    return button;
  }));
  openDialog(dialog);
}

function openFlag() {
  if (!desk.current && desk.at < 0) return;
  byId("flag-comment").value = "";
  openDialog(byId("flag-dialog"));
}

async function flag() {
  const item = desk.at >= 0 ? desk.past.item : desk.current;
  try {
    await call("POST", itemPath(desk.campaign.name, item.id, "/flag"), { comment: byId("flag-comment").value.trim() });
    screen.toast("Flagged for discussion");
  } catch (problem) {
    screen.alarm(`Not flagged. ${problem.message}`);
  }
}

// A closed dialog gives the focus back to what had it, at once: were that its button, the next Enter would open it again.
function openDialog(dialog) {
  document.activeElement?.blur();
  dialog.showModal();
}

function openSettings() {
  byId("preset").replaceChildren(...settings.presets.map(([name, text]) => make("option", { value: name, selected: name === mine.preset }, text)));
  byId("at-once").checked = mine.atOnce;
  byId("overrides").value = mine.overrides;
  byId("overrides-problem").textContent = "";
  openDialog(byId("settings-dialog"));
}

function saveSettings(event) {
  if (event.submitter?.value !== "save") return;
  try {
    mine = settings.save(byId("preset").value, byId("at-once").checked, byId("overrides").value);
    if (desk) drawAll();
  } catch (problem) {
    event.preventDefault();
    byId("overrides-problem").textContent = problem.message;
  }
}

function openFind() {
  if (!byId("find").hidden) byId("find").focus();
}

function onFind(event) {
  const task = desk.task(desk.at >= 0 ? desk.past.item : desk.current);
  const first = screen.findLabel(task, byId("find").value);
  if (event.type !== "keydown" || event.key !== "Enter") return;
  event.preventDefault();
  event.stopPropagation();
  byId("find").value = "";
  byId("find").blur();
  screen.findLabel(task, "");
  if (first >= 0) pick(first);
}

function openComment() {
  byId("comment-box").open = true;
  byId("comment").focus();
}

function escape() {
  if (desk.at >= 0) desk.work();
  else if (desk.chosen !== null) desk.choose(null);
  document.activeElement?.blur();
}

async function turn(step) {
  try {
    if (!(await step()) && desk.at < 0) screen.say("No older answers");
  } catch (problem) {
    screen.alarm(problem.message);
  }
}

function undo() {
  if (!desk.undo()) return screen.toast("There is nothing to take back on this page; ← shows your older answers");
  screen.toast("Taking it back…");
}

function rejectSuggestion() {
  const labels = desk.task(desk.current).labels.map((label) => label.name);
  const others = labels.filter((label) => label !== desk.suggested);
  if (desk.suggested === null || others.length !== 1) return screen.say("Choose the right label");
  desk.choose(others[0]);
  submit();
}

function takeSkipped() {
  if (desk.current || !progress.mine.skipped_waiting) return;
  desk.wantsSkipped = true;
  desk.refill();
}

const DO = {
  "annotation:submit": submit,
  "annotation:skip": openSkip,
  "annotation:undo": undo,
  "annotation:redo": () => desk.redo() ?? screen.toast("There is nothing to give again"),
  "review:accept": () => { if (desk.suggested !== null) { desk.choose(desk.suggested); submit(); } },
  "review:reject": rejectSuggestion,
  "review:previous": () => turn(() => desk.back()),
  "review:next": () => turn(async () => { await desk.forward(); return true; }),
  "review:flag": openFlag,
  "review:find": openFind,
  "review:comment": openComment,
  "review:guidelines": () => (byId("guidelines").open = !byId("guidelines").open),
  "review:zoom-in": () => screen.zoomBy(1.5),
  "review:zoom-out": () => screen.zoomBy(1 / 1.5),
  "review:zoom-reset": () => screen.zoomReset(),
  "review:skipped": takeSkipped,
  "review:help": () => { screen.drawHelp(mine.keymap, ACTIONS); openDialog(byId("help-dialog")); byId("help-title").focus(); },
};

// --- keys ---
function labelKeys() {
  const item = desk.at >= 0 ? desk.past.item : desk.current;
  return item ? mine.keymap.labelKeys(desk.task(item).labels.map((label) => label.name)) : [];
}

// A focused button, link or list keeps its own keys; a text box keeps all but submit and Esc.
function keepsKey(target, pressed) {
  if (target.closest("textarea, input:not([type=radio])")) return pressed !== "escape" && pressed !== "ctrl+enter";
  if (target.closest("select")) return true;
  if (target.closest("button, summary, a")) return ["enter", "space"].includes(pressed);
  return target.matches("input[type=radio]") && (pressed.startsWith("arrow") || pressed === "space");
}

function onKey(event) {
  lastSign = performance.now();
  if (event.isComposing || event.defaultPrevented || !desk) return;
  const pressed = chord(event);
  const dialog = document.querySelector("dialog[open]");
  if (dialog) return onDialogKey(event, dialog, pressed);
  if (keepsKey(event.target, pressed)) return;
  const action = mine.keymap.action(pressed);
  const index = labelKeys().indexOf(pressed);
  const mayRepeat = action?.startsWith("review:zoom") || action === "review:previous" || action === "review:next";
  if (event.repeat && (action || index >= 0) && !mayRepeat) return event.preventDefault(); // a key held down answers once
  if (action?.startsWith("review:zoom") && !screen.hasImage()) return;
  if (action) inTurn(DO[action]);
  else if (index >= 0) inTurn(() => pick(labelKeys().indexOf(pressed)));
  else if (pressed === "0" && screen.hasImage()) screen.zoomReset();
  else if (pressed === "escape") inTurn(escape);
  else return;
  event.preventDefault();
}

// A step through the past waits for the gateway; keys pressed meanwhile are meant for where it leads.
let turning = Promise.resolve();
let steps = 0;
function inTurn(act) {
  const going = steps > 0 ? turning.then(act) : act();
  if (!(going instanceof Promise)) return;
  steps += 1;
  turning = going.finally(() => (steps -= 1));
}

function onDialogKey(event, dialog, pressed) {
  if (dialog.id === "skip-dialog") {
    const button = [...dialog.querySelectorAll("[data-key]")].find((one) => one.dataset.key === pressed);
    if (button) { event.preventDefault(); button.click(); }
  }
  if (dialog.id === "flag-dialog" && pressed === "ctrl+enter") { event.preventDefault(); dialog.close("flag"); }
  if (dialog.id === "help-dialog" && pressed === "?") { event.preventDefault(); dialog.close(); }
}

// --- wires ---
document.addEventListener("keydown", onKey);
document.addEventListener("pointerdown", () => (lastSign = performance.now()));
byId("answer").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
byId("choices").addEventListener("change", (event) => pick(Number(event.target.value)));
byId("choices").addEventListener("click", (event) => { if (event.detail > 0 && event.target.matches("input")) event.target.blur(); });
for (const type of ["input", "keydown"]) byId("find").addEventListener(type, onFind);
byId("skip").addEventListener("click", openSkip);
byId("flag").addEventListener("click", openFlag);
byId("undo").addEventListener("click", undo);
byId("toast-undo").addEventListener("click", undo);
byId("flag-dialog").addEventListener("close", (event) => event.target.returnValue === "flag" && flag());
byId("settings-form").addEventListener("submit", saveSettings);
byId("open-settings").addEventListener("click", openSettings);
byId("open-help").addEventListener("click", DO["review:help"]);
byId("open-history").addEventListener("click", (event) => { event.currentTarget.blur(); DO["review:previous"](); });
byId("take-skipped").addEventListener("click", takeSkipped);
byId("log-out").addEventListener("click", async () => {
  await fetch("/logout", { method: "POST", headers: { "X-Actlabel": "review" } });
  location.replace("/login");
});
window.addEventListener("beforeunload", (event) => { if (sending?.acts.length) event.preventDefault(); });
for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", () => document.activeElement?.blur());

setInterval(() => { if (desk?.at < 0) screen.drawLease(desk.current); }, 1000);
setInterval(() => {
  if (!desk || document.hidden) return;
  const isThere = performance.now() - lastSign < desk.campaign.review.lease_seconds * 1000;
  if (isThere) desk.keep();
}, 2000);
setInterval(() => {
  if (!desk || document.hidden) return;
  if (!desk.current) desk.refill();
}, 3000);
setInterval(() => { if (desk && !document.hidden) lookAtProgress(); }, 10000);

start();

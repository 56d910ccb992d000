// Draws what the desk holds. Reads nothing but its arguments; decides nothing.
import { itemPath } from "./client.js";
import { byId, keys, make, percent, withMarks } from "./elements.js";
import { pretty } from "./keys.js";
import { Zoom } from "./zoom.js";

let zoom = null;
export const zoomBy = (factor) => zoom?.by(factor);
export const zoomReset = () => zoom?.reset();
export const hasImage = () => zoom !== null;

export function mediaUrl(campaign, item, part) {
  return "/api/v1" + itemPath(campaign, item.id, `/media/${part.media}`);
}

// --- the item ---
export function drawItem(desk, item) {
  byId("empty").hidden = true;
  byId("item").hidden = byId("panel").hidden = false;
  zoom = null;
  const quotes = item.critique?.evidence ?? [];
  byId("content").replaceChildren(...item.content.map((part, index) => drawPart(desk, item, part, index, quotes)));
  byId("about").replaceChildren(...drawAbout(item));
  window.scrollTo(0, 0);
  drawReasons(item);
}

function drawPart(desk, item, part, index, quotes) {
  const several = item.content.length > 1;
  const title = several || !["text", "image"].includes(part.name) ? make("h2", { class: "part quiet" }, part.name || `part ${index + 1}`) : null;
  return make("article", {}, title, part.kind === "text" ? drawText(part, quotes) : drawImage(desk, item, part, index));
}

function drawText(part, quotes) {
  const length = part.text.length;
  return make("div", { class: length < 400 ? "text large" : "text", dir: "auto" }, ...withMarks(part.text, quotes));
}

function drawImage(desk, item, part, index) {
  const name = `Image ${index + 1} of ${item.content.length}`;
  const image = make("img", { alt: name, draggable: "false" });
  const frame = make("div", { class: "frame" }, image);
  const mine = new Zoom(frame, image);
  zoom ??= mine;
  image.addEventListener("error", () => frame.replaceChildren(make("p", { class: "problem" }, `${name} cannot be shown. Skip the item if you cannot tell.`)));
  image.src = mediaUrl(desk.campaign.name, item, part);
  const tools = [["−", "Zoom out", () => mine.by(1 / 1.5)], ["+", "Zoom in", () => mine.by(1.5)], ["Fit", "Whole image", () => mine.reset()]];
  const buttons = tools.map(([text, label, act]) => {
    const button = make("button", { type: "button", class: "plain", "aria-label": label }, text);
    button.addEventListener("click", act);
    return button;
  });
  return make("figure", {}, frame, make("div", { class: "zoom-tools" }, ...buttons));
}

function drawAbout(item) {
  const rows = [["id", item.id], ...Object.entries(item.metadata)];
  return [make("dl", {}, ...rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", { dir: "auto" }, value))))];
}

// --- why this item ---
function drawReasons(item) {
  const { critique, suggestion } = item;
  byId("why").hidden = critique === null;
  if (critique === null) return;
  const risk = critique.error_probability;
  const label = suggestion?.label;
  const about = label ? ` risk that the model's label “${label}” is wrong` : " risk that the model is wrong";
  byId("reasons").replaceChildren(
    make("p", { class: "risk" }, make("meter", { min: 0, max: 1, value: risk, "aria-label": "Risk" }), make("span", {}, make("strong", {}, percent(risk)), about)),
    critique.reason ? make("p", { dir: "auto" }, critique.reason) : "",
    ...critique.evidence.map((quote) => make("blockquote", { dir: "auto" }, quote)),
    suggestion?.rationale ? make("details", {}, make("summary", {}, "What the model said"), make("p", { dir: "auto" }, suggestion.rationale)) : "",
  );
}

// --- the answer ---
export function drawQuestion(desk, item, keymap) {
  const task = desk.task(item);
  byId("question").textContent = task.question;
  byId("guidelines").hidden = !task.guidelines;
  byId("guidelines-text").textContent = task.guidelines;
  const chosen = keymap.labelKeys(task.labels.map((label) => label.name));
  byId("choices").replaceChildren(...task.labels.map((label, index) => drawChoice(item, label, index, chosen[index])));
  const areShort = task.labels.every((label) => label.name.length <= 12 && !label.description);
  byId("choices").classList.toggle("many", task.labels.length > 6 && areShort);
  byId("choices").classList.toggle("scrolls", task.labels.length > 12);
  byId("find").hidden = task.labels.length <= FIND_FROM;
  byId("find").value = "";
}

const FIND_FROM = 20;

// Hides the choices whose name does not hold the text; returns the index of the first that stays, or -1.
export function findLabel(task, text) {
  const found = task.labels.map((label) => label.name.toLowerCase().includes(text.trim().toLowerCase()));
  document.querySelectorAll("#choices .choice").forEach((choice, index) => (choice.hidden = !found[index]));
  return found.indexOf(true);
}

function drawChoice(item, label, index, key) {
  const radio = make("input", { type: "radio", name: "label", value: index });
  const marks = [];
  if (item.suggestion?.label === label.name) marks.push(make("span", { class: "mark suggested" }, "✦ model"));
  if (item.critique?.suggested_label === label.name && item.suggestion?.label !== label.name) marks.push(make("span", { class: "mark" }, "critic"));
  const text = make("span", { class: "label-text" }, make("span", { class: "name", dir: "auto" }, label.name), label.description ? make("span", { class: "quiet", dir: "auto" }, label.description) : "");
  return make("label", { class: "choice" }, radio, make("kbd", { class: key ? "" : "none" }, key ? pretty(key) : ""), text, ...marks);
}

export function drawChoiceState(desk, keymap) {
  const isPast = desk.at >= 0;
  const item = isPast ? desk.past.item : desk.current;
  if (!item) return;
  const labels = desk.task(item).labels.map((label) => label.name);
  document.querySelectorAll("#choices input").forEach((radio, index) => (radio.checked = labels[index] === desk.chosen));
  document.querySelector("#choices.scrolls .choice:has(:checked)")?.scrollIntoView({ block: "nearest" });
  const [text, ready] = isPast ? pastVerb(desk) : workVerb(desk);
  const submit = byId("submit");
  submit.replaceChildren(make("span", { class: "verb" }, text), ready || desk.suggested !== null ? keys(keymap.shown("annotation:submit")) : "");
  submit.setAttribute("aria-disabled", String(!ready));
  submit.classList.toggle("idle", !ready && (isPast || desk.suggested === null)); // no flicker while a suggestion is looked at
}

function workVerb(desk) {
  if (desk.chosen !== null) return [`Submit “${desk.chosen}”`, true];
  if (desk.suggested !== null) return [`Accept “${desk.suggested}”`, desk.seen];
  return ["Choose a label", false];
}

function pastVerb(desk) {
  const changed = desk.chosen !== null && desk.chosen !== desk.past.answer.label;
  return changed ? [`Change to “${desk.chosen}”`, true] : ["Choose another label", false];
}

export function drawActions(desk, keymap) {
  byId("skip").replaceChildren("Skip…", keys(keymap.shown("annotation:skip")));
  byId("flag").replaceChildren("Flag…", keys(keymap.shown("review:flag")));
  byId("undo").replaceChildren("Undo", keys(keymap.shown("annotation:undo")));
  byId("undo").disabled = !desk.done.length;
  byId("skip").disabled = desk.at >= 0;
  byId("comment-key").textContent = keymap.shown("review:comment")[0] ?? "";
  byId("guidelines-key").textContent = keymap.shown("review:guidelines")[0] ?? "";
}

export function drawPast(desk) {
  const banner = byId("past");
  banner.hidden = desk.at < 0;
  if (desk.at < 0) return;
  const { answer } = desk.past;
  const said = answer.label === null ? "undecidable" : `“${answer.label}”`;
  const when = new Date(answer.answered_at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  banner.replaceChildren(
    make("strong", {}, `Your answer ${desk.at + 1} of ${desk.history.length}: ${said}`),
    ` at ${when}. Choose another label to change it. `, make("kbd", {}, "←"), " older ", make("kbd", {}, "→"), " newer ", make("kbd", {}, "Esc"), " back to work",
  );
}

// --- around it ---
export function drawProgress(progress) {
  const { items, mine } = progress;
  const settled = items.answered + items.undecidable;
  const all = settled + items.waiting + items.leased;
  byId("bar").value = all ? settled / all : 0;
  const open = items.waiting + items.leased;
  byId("counts").textContent = `${open.toLocaleString()} to do · ${settled.toLocaleString()} done · ${mine.answered.toLocaleString()} by you`;
}

export function drawLease(item) {
  const line = byId("lease");
  if (!item) return;
  const left = Math.round((item.until - performance.now()) / 1000);
  line.classList.toggle("urgent", left <= 30);
  const clock = `${Math.floor(Math.max(left, 0) / 60)}:${String(Math.max(left, 0) % 60).padStart(2, "0")}`;
  line.textContent = left > 0 ? `Kept for you for ${clock}` : "No longer kept for you. Your answer still counts if nobody else has taken the item.";
}

export function drawEmpty(progress, keymap) {
  byId("empty").hidden = false;
  byId("item").hidden = byId("panel").hidden = true;
  const { items, mine } = progress;
  const lines = [];
  if (items.leased) lines.push(`${items.leased} with other reviewers.`);
  if (mine.skipped_waiting) lines.push(`${mine.skipped_waiting} that you skipped wait for somebody else.`);
  const settled = items.answered + items.undecidable;
  lines.push(settled ? `${settled} answered, ${mine.answered} by you.` : "Items appear here as soon as the sampler sends them.");
  byId("empty-text").textContent = lines.join(" ");
  const button = byId("take-skipped");
  button.hidden = !mine.skipped_waiting;
  button.replaceChildren(`Take back the ${mine.skipped_waiting} that I skipped `, keys(keymap.shown("review:skipped")));
}

export function drawHelp(keymap, actions) {
  const rows = Object.entries(actions).map(([name, text]) => [keymap.shown(name).slice(0, 2), text]);
  rows.unshift([[`${pretty(keymap.labels[0] ?? "")} … ${pretty(keymap.labels.at(-1) ?? "")}`], "Pick the label that carries this key"]);
  rows.push([["Esc"], "Leave a text box, a choice, your old answers"]);
  const body = document.querySelector("#help-keys tbody");
  const cells = (shown) => shown.flatMap((key, index) => (index ? [" or ", make("kbd", {}, key)] : [make("kbd", {}, key)]));
  body.replaceChildren(...rows.filter(([shown]) => shown.length).map(([shown, text]) => make("tr", {}, make("td", {}, ...cells(shown)), make("td", {}, text))));
}

// --- messages ---
export function say(text) {
  byId("speech").textContent = text;
}

let toastTimer;
export function toast(text, { seconds = 5, undo = null } = {}) {
  clearTimeout(toastTimer);
  byId("toast-text").textContent = text;
  byId("toast-undo").hidden = undo === null;
  if (undo) byId("toast-undo").replaceChildren("Undo ", keys(undo));
  byId("toast").hidden = false;
  toastTimer = setTimeout(() => (byId("toast").hidden = true), seconds * 1000);
}

let alertTimer;
export function alarm(text) {
  clearTimeout(alertTimer);
  if (byId("alert").hidden || byId("alert").textContent !== text) byId("alert").textContent = text;
  byId("alert").hidden = false;
  alertTimer = setTimeout(() => (byId("alert").hidden = true), 12000);
}

export function drawSaving(waiting, failing) {
  const line = byId("saving");
  line.classList.toggle("problem", failing);
  if (failing) line.textContent = `Not reachable: ${waiting} unsent, trying again`;
  else line.textContent = waiting ? "Saving…" : "All saved";
}

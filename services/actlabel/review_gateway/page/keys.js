// Which key does what: a neutral default, three presets for fingers trained elsewhere, and a person's own changes.

export const LABEL_KEYS = "1234567890qwetasdfgzxcvbyiopjklnm";

export const ACTIONS = {
  "annotation:submit": "Submit; accepts the suggestion when nothing is chosen",
  "annotation:skip": "Skip, with a reason",
  "annotation:undo": "Take the last answer back",
  "annotation:redo": "Give it again",
  "review:accept": "Accept the suggestion",
  "review:reject": "Choose the other label (of two)",
  "review:previous": "Previous of my answers",
  "review:next": "Next of my answers, back to work",
  "review:flag": "Flag for discussion",
  "review:find": "Find a label by its name (where there are many)",
  "review:comment": "Write a comment (Esc leaves it)",
  "review:guidelines": "Show or hide the guidelines",
  "review:zoom-in": "Zoom in",
  "review:zoom-out": "Zoom out",
  "review:zoom-reset": "Whole image",
  "review:skipped": "Take back what I skipped (when nothing waits)",
  "review:help": "This list",
};

const NEUTRAL = {
  "annotation:submit": ["enter", "ctrl+enter"],
  "annotation:skip": ["ctrl+space"],
  "annotation:undo": ["ctrl+z"],
  "annotation:redo": ["ctrl+shift+z"],
  "review:accept": [],
  "review:reject": [],
  "review:previous": ["arrowleft"],
  "review:next": ["arrowright"],
  "review:flag": ["shift+f"],
  "review:find": ["/"],
  "review:comment": ["shift+enter"],
  "review:guidelines": ["h"],
  "review:zoom-in": ["+", "=", "ctrl++", "ctrl+="],
  "review:zoom-out": ["-", "ctrl+-"],
  "review:zoom-reset": ["ctrl+0"],
  "review:skipped": ["shift+s"],
  "review:help": ["?"],
};

export const PRESETS = {
  neutral: { text: "Neutral", actions: NEUTRAL, labels: LABEL_KEYS },
  "label-studio": { text: "Label Studio", actions: { ...NEUTRAL, "annotation:submit": ["ctrl+enter"] }, labels: LABEL_KEYS },
  argilla: { text: "Argilla", actions: { ...NEUTRAL, "annotation:submit": ["enter"] }, labels: "1234567890" },
  prodigy: {
    text: "Prodigy",
    actions: { ...NEUTRAL, "review:accept": ["a"], "review:reject": ["x"], "annotation:skip": ["space", "ctrl+space"] },
    labels: "1234567890",
  },
};

const NAMES = { left: "arrowleft", right: "arrowright", up: "arrowup", down: "arrowdown", plus: "+", minus: "-", esc: "escape", " ": "space" };
const FORBIDDEN = new Set(["backspace", "delete", "tab", "escape"]);

// "cmd+shift+z" → "ctrl+shift+z"; the last part may itself be "+".
export function normalised(text) {
  const parts = text.trim().toLowerCase().replace(/\+\+$/, "+plus").split("+").map((part) => part.trim());
  const key = NAMES[parts.at(-1)] ?? parts.at(-1);
  const held = new Set(parts.slice(0, -1).map((part) => (["cmd", "meta", "command", "control"].includes(part) ? "ctrl" : part)));
  if (!key || [...held].some((part) => !["ctrl", "alt", "shift"].includes(part))) throw new Error(`“${text}” is not a key`);
  if (FORBIDDEN.has(key)) throw new Error(`“${key}” is never bound: it must do nothing that needs thought`);
  return [...["ctrl", "alt", "shift"].filter((part) => held.has(part)), key].join("+");
}

// What was pressed. Other alphabets count by the place of the key.
export function chord(event) {
  let key = NAMES[event.key] ?? event.key.toLowerCase();
  if (/^\P{ASCII}$/u.test(key) && event.code.startsWith("Key")) key = event.code.slice(3).toLowerCase();
  const shift = event.shiftKey && (key.length > 1 || /[a-z]/.test(key));
  return [...(event.ctrlKey || event.metaKey ? ["ctrl"] : []), ...(event.altKey ? ["alt"] : []), ...(shift ? ["shift"] : []), key].join("+");
}

// Label Studio's form: {"annotation:submit": {"key": "shift+s", "active": true}}. Throws an Error whose message is for the person.
export function readOverrides(text) {
  if (!text.trim()) return {};
  let document;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw new Error(`Not valid JSON: ${error.message}`);
  }
  if (typeof document !== "object" || document === null || Array.isArray(document)) throw new Error("Write an object: {\"annotation:submit\": {\"key\": \"shift+s\"}}");
  const changes = {};
  for (const [name, change] of Object.entries(document)) {
    if (!Object.hasOwn(ACTIONS, name)) throw new Error(`“${name}” is not an action; they are ${Object.keys(ACTIONS).join(", ")}`);
    if (typeof change?.key !== "string") throw new Error(`“${name}” needs a key, like {"key": "shift+s", "active": true}`);
    changes[name] = change.active === false ? [] : change.key.split(",").filter(Boolean).map(normalised);
  }
  return changes;
}

export class Keymap {
  constructor(preset, overrides) {
    const base = PRESETS[preset] ?? PRESETS.neutral;
    const taken = new Set(Object.values(overrides).flat()); // a person's own key wins over what it did before
    const kept = Object.entries(base.actions).map(([name, chords]) => [name, chords.filter((one) => !taken.has(one))]);
    this.actions = { ...Object.fromEntries(kept), ...overrides };
    this.byChord = new Map(Object.entries(this.actions).flatMap(([name, chords]) => chords.map((one) => [one, name])));
    this.labels = [...base.labels].filter((key) => !this.byChord.has(key));
  }
  action(pressed) {
    return this.byChord.get(pressed);
  }
  // One key per label, in order; a label that is itself such a key ("3", "a") has its own, or a digit would mean another digit.
  labelKeys(names) {
    const own = names.map((name) => (this.labels.includes(name.toLowerCase()) ? name.toLowerCase() : null));
    const free = this.labels.filter((key) => !own.includes(key));
    return own.map((key, index) => (key !== null && own.indexOf(key) === index ? key : (free.shift() ?? null)));
  }
  shown(name) {
    return (this.actions[name] ?? []).map(pretty);
  }
}

const PRETTY = { enter: "Enter", space: "Space", arrowleft: "←", arrowright: "→", arrowup: "↑", arrowdown: "↓", ctrl: "Ctrl", shift: "Shift", alt: "Alt" };
export function pretty(pressed) {
  const parts = pressed.replace(/\+\+$/, "+plus").split("+").map((part) => (part === "plus" ? "+" : part));
  if (pressed === "+") return "+";
  return parts.map((part) => PRETTY[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join(" ");
}

// A person's own choices, kept in this browser.
import { Keymap, PRESETS, readOverrides } from "./keys.js";

const KEY = "actlabel.settings";

export function load() {
  try {
    const { preset = "neutral", atOnce = false, overrides = "" } = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return { preset, atOnce, overrides, keymap: new Keymap(preset, readOverrides(overrides)) };
  } catch {
    return { preset: "neutral", atOnce: false, overrides: "", keymap: new Keymap("neutral", {}) };
  }
}

// Throws an Error with one line for the person.
export function save(preset, atOnce, overrides) {
  const keymap = new Keymap(preset, readOverrides(overrides));
  localStorage.setItem(KEY, JSON.stringify({ preset, atOnce, overrides }));
  return { preset, atOnce, overrides, keymap };
}

export const presets = Object.entries(PRESETS).map(([name, { text }]) => [name, text]);

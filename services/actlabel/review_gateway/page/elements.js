// Builds elements. Text is only ever set as text: what a record says can never become markup.

export const byId = (id) => document.getElementById(id);

// make("p", {class: "quiet", title: "…"}, "text", otherElement)
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function keys(shown) {
  return shown.length ? make("kbd", {}, shown[0]) : "";
}

export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

// Text with the quotes marked that the critic points at.
export function withMarks(text, quotes) {
  const spans = quotes
    .filter((quote) => quote.length > 2)
    .map((quote) => [text.indexOf(quote), quote.length])
    .filter(([at]) => at >= 0)
    .sort((a, b) => a[0] - b[0]);
  const pieces = [];
  let done = 0;
  for (const [at, length] of spans) {
    if (at < done) continue;
    pieces.push(text.slice(done, at), make("mark", {}, text.slice(at, at + length)));
    done = at + length;
  }
  return [...pieces, text.slice(done)];
}

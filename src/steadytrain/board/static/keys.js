// The keyboard: one letter each, told by "?".
import { html, useEffect, useRef } from "./lib.js";
import { t } from "./words.js";

export const keys = [
  ["h", "key_home"], ["1\u20266", "key_pages"], ["j k", "key_incidents"], ["x", "key_axis"], ["s", "key_smooth"],
  ["l", "key_log"], ["y", "key_trim"], ["o", "key_overlay"], ["+ \u2212", "key_zoom"], ["\u2190 \u2192", "key_pan"], ["0", "key_reset"],
  ["/", "key_filter"], ["t", "key_theme"], ["z", "key_lang"], ["?", "key_help"],
];

export function useKeys(table) {
  const held = useRef(table);
  held.current = table;
  useEffect(() => {
    const hear = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
      if (isTyping && event.key !== "Escape") return;
      const does = held.current[event.key];
      if (does) { event.preventDefault(); does(); }
    };
    addEventListener("keydown", hear);
    return () => removeEventListener("keydown", hear);
  }, []);
}

export function Help({ onClose }) {
  const box = useRef(null);
  useEffect(() => { box.current.showModal(); }, []);
  return html`<dialog class="help" ref=${box} onClose=${onClose} onClick=${(event) => { if (event.target === box.current) box.current.close(); }} aria-label=${t("keys")}>
    <h2>${t("keys")}</h2>
    <dl>${keys.map(([key, word]) => html`<div><dt>${key.split(" ").map((one) => html`<kbd>${one}</kbd>`)}</dt><dd>${t(word)}</dd></div>`)}</dl>
    <button onClick=${() => box.current.close()}>${t("close")}</button>
  </dialog>`;
}

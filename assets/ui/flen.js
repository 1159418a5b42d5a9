// The page's own hands: clicks and keys reach Python as acts; nothing here decides anything.
(() => {
  const typing = (node) => node && (node.isContentEditable || /^(input|textarea|select)$/i.test(node.tagName));
  const shown = (node) => node.offsetParent !== null;
  const chosen = new Map(); // component -> ids selected in it
  let waiting = []; // keys pressed while a verdict is on its way

  const mark = (element) => {
    const ids = chosen.get(element) || new Set();
    const present = new Set();
    element.querySelectorAll("[data-pick]").forEach((corner) => {
      present.add(corner.dataset.pick);
      const on = ids.has(corner.dataset.pick);
      corner.closest(".fl-tile").classList.toggle("picked", on);
      corner.setAttribute("aria-pressed", on);
    });
    ids.forEach((id) => present.has(id) || ids.delete(id));
    const bar = element.querySelector("[data-picked-bar]");
    if (bar) {
      bar.hidden = ids.size === 0;
      bar.querySelector("[data-picked-count]").textContent = `${ids.size} selected`;
    }
  };

  const toggle = (element, id, range) => {
    const ids = chosen.get(element) || new Set();
    chosen.set(element, ids);
    const all = [...element.querySelectorAll("[data-pick]")].map((node) => node.dataset.pick);
    const from = all.indexOf(element.flenLast), to = all.indexOf(id);
    if (range && from >= 0) all.slice(Math.min(from, to), Math.max(from, to) + 1).forEach((each) => ids.add(each));
    else if (ids.has(id)) ids.delete(id);
    else ids.add(id);
    element.flenLast = id;
    mark(element);
  };

  const settle = (element) => {
    mark(element);
    element.querySelectorAll("details[data-fold]").forEach((fold) => {
      const open = element.flenFolds && element.flenFolds[fold.dataset.fold];
      if (open !== undefined) fold.open = open;
    });
    if (element.querySelector("[data-stage]") && waiting.length) setTimeout(() => press(waiting.shift()), 0);
    const rail = element.querySelector("[data-character]");
    if (rail) window.flen.stand(rail);
  };

  const attach = (element, act, watch) => {
    element.addEventListener("click", (event) => {
      const corner = event.target.closest("[data-pick]");
      if (corner) return toggle(element, corner.dataset.pick, event.shiftKey);
      const node = event.target.closest("[data-act]");
      if (!node || node.disabled) return;
      const stage = node.closest("[data-stage]");
      if (stage) {
        if (stage.dataset.busy) return;
        stage.dataset.busy = "1";
        setTimeout(() => delete stage.dataset.busy, 1500);
      }
      act({ ...node.dataset, picks: [...(chosen.get(element) || [])] });
      if (node.dataset.scroll) setTimeout(() => document.querySelector(node.dataset.scroll)?.scrollIntoView({ behavior: "smooth" }), 700);
      if (node.dataset.unpick) { chosen.delete(element); mark(element); }
    });
    element.addEventListener("toggle", (event) => {
      if (!event.target.dataset || !event.target.dataset.fold) return;
      (element.flenFolds ||= {})[event.target.dataset.fold] = event.target.open;
    }, true);
    watch("value", () => settle(element));
    element.dataset.ready = "1";
    settle(element);
  };

  const press = (key) => {
    const node = [...document.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key && shown(each));
    if (!node) return false;
    const stage = node.closest("[data-stage]");
    // A page that has just been reloaded shows its stage a moment before anybody listens to it.
    if (stage && (stage.dataset.busy || !stage.closest("[data-ready]"))) waiting.length < 8 && waiting.push(key);
    else node.click();
    return true;
  };

  const sheet = () => {
    const old = document.querySelector(".fl-sheet");
    if (old) return old.remove();
    const rows = [...document.querySelectorAll("[data-key],[data-hold]")].filter(shown)
      .map((node) => [node.dataset.key || `hold ${node.dataset.hold}`, node.dataset.keylabel || node.textContent.trim()]);
    const box = document.createElement("div");
    box.className = "fl-sheet";
    box.setAttribute("role", "dialog");
    box.innerHTML = "<div><h3>Keys on this page</h3><dl></dl></div>";
    const list = box.querySelector("dl");
    rows.concat([["?", "show or hide this list"], ["Tab", "move between pictures and buttons"]]).forEach(([key, words]) => {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = key === " " ? "space" : key === "Backspace" ? "⌫" : key;
      dd.textContent = words;
      list.append(dt, dd);
    });
    box.addEventListener("click", () => box.remove());
    document.body.append(box);
  };

  const hold = (key, on) => {
    const node = [...document.querySelectorAll("[data-hold]")].find((each) => each.dataset.hold === key && shown(each));
    const main = node && document.querySelector("[data-main]");
    const other = node && node.querySelector("img");
    if (!main || !other) return false;
    if (on && !main.dataset.own) { main.dataset.own = main.src; main.src = other.src; }
    if (!on && main.dataset.own) { main.src = main.dataset.own; delete main.dataset.own; }
    return true;
  };

  document.addEventListener("keydown", (event) => {
    if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "?") { sheet(); return; }
    if (event.key === "Escape") { document.querySelector(".fl-sheet")?.remove(); return; }
    if (hold(event.key, true)) { event.preventDefault(); return; }
    if (event.repeat) return;
    if (event.key === " " && event.target.closest("button, a") && event.target.closest(".fl-tile")) return;
    if (press(event.key)) event.preventDefault();
  });
  document.addEventListener("input", (event) => {
    const frame = event.target.closest(".fl-compare");
    if (frame) frame.style.setProperty("--at", `${event.target.value}%`);
  });
  document.addEventListener("keyup", (event) => hold(event.key, false));
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-theme-toggle]")) paint(!document.body.classList.contains("dark"), true);
    if (event.target.closest("[data-keys]")) sheet();
    if (event.target.closest("[data-copy]")) navigator.clipboard?.writeText(event.target.closest("[data-copy]").dataset.copy);
  });

  const paint = (dark, keep) => {
    document.body.classList.toggle("dark", dark);
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    if (keep) localStorage.setItem("flen-theme", dark ? "dark" : "light");
  };
  const start = () => {
    const asked = new URLSearchParams(location.search).get("__theme");
    paint((asked || localStorage.getItem("flen-theme") || "dark") === "dark", false);
  };
  if (document.body) start();
  else document.addEventListener("DOMContentLoaded", start);
  window.flen = Object.assign(window.flen || {}, { attach });
})();

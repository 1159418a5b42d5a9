// The page's own hands: clicks and keys reach Python as acts; nothing here decides anything.
(() => {
  const typing = (node) => node && (node.isContentEditable || /^(input|textarea|select)$/i.test(node.tagName));
  const shown = (node) => node.getClientRects().length > 0; // also of what is fixed
  const chosen = new Map(); // component -> ids selected in it

  // A bar may stand apart from its gallery, which it names, so that it is not drawn anew with the pictures.
  const handsOf = (block) => (block?.matches("[data-ready]") ? block : block?.querySelector("[data-ready]"));
  const home = (element) => {
    const far = element.querySelector("[data-picked-bar]")?.dataset.pickedBar;
    return (far && handsOf(document.querySelector(far))) || element;
  };
  const barOf = (element) => element.querySelector("[data-picked-bar]")
    || [...document.querySelectorAll("[data-picked-bar]")].find((bar) => bar.dataset.pickedBar && element.closest(bar.dataset.pickedBar));

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
    const bar = barOf(element);
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

  const pickAll = (element, on) => {
    chosen.set(element, new Set(on ? [...element.querySelectorAll("[data-pick]")].map((node) => node.dataset.pick) : []));
    mark(element);
  };
  // The gallery in sight whose pictures can be picked.
  const gallery = () => [...document.querySelectorAll("[data-picked-bar]")].map((bar) => bar.closest("[data-ready]"))
    .map((element) => element && home(element)).find((element) => element && shown(element));
  const unpick = () => {
    const element = gallery();
    if (!element || !chosen.get(element)?.size) return false;
    pickAll(element, false);
    return true;
  };

  const picksOf = (element) => [...(chosen.get(element) || [])];
  const fields = (box) => Object.fromEntries([...box.querySelectorAll("[name]")]
    .filter((node) => node.type !== "radio" || node.checked)
    .map((node) => [node.name, node.type === "checkbox" ? node.checked : node.value]));
  // For other scripts: select in the gallery in sight, and say something to the hands of a block.
  const pick = (id, range) => gallery() && toggle(gallery(), id, range);
  const picked = () => (gallery() ? picksOf(gallery()).length : 0);
  const tell = (block, data) => handsOf(document.querySelector(block))?.flenAct({ ...data, picks: gallery() ? picksOf(gallery()) : [] });

  const settle = (element, act) => {
    mark(element);
    element.querySelectorAll("details[data-fold]").forEach((fold) => {
      const open = element.flenFolds && element.flenFolds[fold.dataset.fold];
      if (open !== undefined) fold.open = open;
    });
    window.flenField.settle(element);
    window.flenDesk.settle(element, act);
    window.flenWords.settle(element, act);
    window.flenViewer.settle(element, act);
    window.flenStory?.settle(element);
    window.flenGallery.settle(element);
    window.flenCrop.settle(element, act);
    window.flenBench.settle(element);
    const rail = element.querySelector("[data-character]");
    if (rail) window.flen.stand(rail);
  };

  const attach = (element, act, watch) => {
    const inTurn = (data) => window.flenTurns(element, () => act(data));
    element.addEventListener("click", (event) => {
      const corner = event.target.closest("[data-pick]");
      if (corner) return toggle(element, corner.dataset.pick, event.shiftKey);
      const of = home(element);
      if (event.target.closest("[data-pick-all]")) return pickAll(of, true);
      if (event.target.closest("[data-pick-none]")) return pickAll(of, false);
      const node = event.target.closest("[data-act]");
      if (!node || node.disabled) return;
      const desk = window.flenDesk(element, act);
      if (desk) desk.press(node);
      else inTurn({ ...node.dataset, picks: picksOf(of), ...(node.closest("[data-fields]") && { fields: fields(node.closest("[data-fields]")) }) });
      if (node.dataset.scroll) setTimeout(() => document.querySelector(node.dataset.scroll)?.scrollIntoView({ behavior: "smooth" }), 700);
      if (node.dataset.unpick) { chosen.delete(of); mark(of); }
    });
    element.addEventListener("change", (event) => {
      const node = event.target.closest("[data-change]");
      const box = node?.closest("[data-fields]");
      if (node) inTurn({ ...node.dataset, act: node.dataset.change, value: node.type === "checkbox" ? node.checked : node.value, ...(box && { fields: fields(box) }) });
    });
    element.addEventListener("toggle", (event) => {
      if (!event.target.dataset || !event.target.dataset.fold) return;
      (element.flenFolds ||= {})[event.target.dataset.fold] = event.target.open;
    }, true);
    watch("value", () => settle(element, act));
    element.dataset.ready = "1";
    element.flenAct = act;
    settle(element, act);
  };

  const press = (key) => {
    const node = [...document.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key && shown(each));
    if (!node) return window.flenDesk.idle(key);
    if (!window.flenDesk.key(node)) node.click();
    return true;
  };

  const definitions = (pairs) => {
    const list = document.createElement("dl");
    pairs.forEach(([key, words]) => {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = key;
      dd.textContent = words;
      list.append(dt, dd);
    });
    return list;
  };
  const NAMES = { " ": "space", Backspace: "⌫", Escape: "Esc", Delete: "Del" };
  const sheet = () => {
    const old = document.querySelector(".fl-sheet");
    if (old) { old.remove(); old.flenBack?.focus(); return; }
    const rows = [...document.querySelectorAll("[data-key],[data-hold],[data-view-key]")].filter(shown)
      .map((node) => [node.dataset.key || node.dataset.viewKey || `hold ${node.dataset.hold}`, node.dataset.keylabel || node.textContent.trim()]);
    if (gallery()) rows.push(["arrows", "move between pictures"], ["Enter", "open the picture; once more: enlarge it"], ["space", "select it"],
      ["Ctrl+A", "select all"], ["Esc", "select none, or close the picture"]);
    const keys = rows.concat([["?", "show or hide this list"], ["Tab", "move between pictures and buttons"]])
      .map(([key, words]) => [NAMES[key] || key, words]);
    const box = document.createElement("div");
    box.className = "fl-sheet";
    box.setAttribute("role", "dialog");
    box.setAttribute("aria-modal", "true");
    box.setAttribute("aria-labelledby", "fl-sheet-name");
    box.innerHTML = "<div tabindex='0'><header><h3 id='fl-sheet-name'>Keys on this page</h3><button type='button' class='fl-button small fl-x' aria-label='close'>✕</button></header><section></section><h3>Words</h3><section></section></div>";
    const [first, second] = box.querySelectorAll("section");
    first.append(definitions(keys));
    second.append(document.querySelector("#fl-glossary").content.cloneNode(true));
    box.addEventListener("click", (event) => { if (event.target === box || event.target.closest(".fl-x")) sheet(); });
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Tab") return;
      const [body, close] = [box.firstElementChild, box.querySelector(".fl-x")];
      event.preventDefault();
      (document.activeElement === close ? body : close).focus();
    });
    box.flenBack = document.activeElement;
    document.body.append(box);
    box.querySelector(".fl-x").focus();
  };

  const hold = (key, on) => {
    const node = [...document.querySelectorAll("[data-hold]")].find((each) => each.dataset.hold === key && shown(each));
    const main = node && [...document.querySelectorAll("[data-main]")].find(shown);
    const other = node && node.querySelector("img");
    if (!main || !other) return false;
    if (main.closest(".ahead")) return true; // what stands beside is another picture's
    if (on && !main.dataset.own) { main.dataset.own = main.src; main.src = other.src; }
    if (!on && main.dataset.own) { main.src = main.dataset.own; delete main.dataset.own; }
    return true;
  };

  document.addEventListener("keydown", (event) => {
    if (typing(event.target)) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "a" && gallery()) {
      event.preventDefault();
      pickAll(gallery(), true);
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "?") { sheet(); return; }
    if (event.key === "Escape") {
      const open = document.querySelector(".fl-sheet");
      if (open) sheet();
      else unpick() || press("Escape");
      return;
    }
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
    const copied = event.target.closest("[data-copy]");
    if (copied) navigator.clipboard.writeText(copied.dataset.copy).then(() => window.flen.say({ tone: "good", words: "Copied." }, { node: copied }))
      .catch(() => window.flen.say({ words: "The browser does not let this page copy.", hint: "Select the text and copy it." }, { node: copied }));
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
  window.flen = Object.assign(window.flen || {}, { attach, fields, pick, picked, tell });
})();

// Where the page stands, and what is said on it. The address holds the character and the tab; every call sends both.
(() => {
  const query = () => new URL(location.href).searchParams;
  const put = (name, value) => {
    const place = new URL(location.href);
    if (value) place.searchParams.set(name, value); else place.searchParams.delete(name);
    if (place.href !== location.href) history.replaceState(null, "", place);
  };
  const character = () => query().get("character") || "";
  const tab = () => query().get("tab") || "";

  // ── tabs ──────────────────────────────────────────────────────────────────────────────────────
  const TAB = 'button[role="tab"], .overflow-dropdown button'; // a narrow page puts some into a menu
  const wheel = () => document.querySelector(".tab-wrapper"); // the first one is the studio's own
  const tabNamed = (name) => [...(wheel()?.querySelectorAll(TAB) || [])].find((node) => node.textContent.trim() === name);
  const isOpen = (name) => tabNamed(name)?.getAttribute("aria-selected") === "true";
  const parts = (name) => [...document.querySelectorAll(`.tabs .tabs ${TAB}`)].find((node) => node.textContent.trim() === name);
  // A tab that opens for the first time has no parts yet: ask until the part is open.
  const openPart = (name, left) => {
    const node = parts(name);
    if (node?.getAttribute("aria-selected") === "true" || !left) return;
    node?.click();
    setTimeout(() => openPart(name, left - 1), 100);
  };
  const openTab = (name, part) => { put("tab", name); tabNamed(name)?.click(); if (part) openPart(part, 100); };
  // After a load, Gradio may take a while until its tabs listen: ask until the tab is open.
  const arrive = (left) => {
    const name = tab();
    if (!name || !left || isOpen(name)) return;
    tabNamed(name)?.click();
    setTimeout(() => arrive(left - 1), 100);
  };

  // ── notices: a bubble beside what was clicked ─────────────────────────────────────────────────
  let acted = null; // what the user touched last: {node, x, y, at}
  let answered = null; // what the answer that came last was asked by
  const touch = (event) => {
    const node = event.target.closest?.("button, a, input, select, textarea, label, summary") || event.target;
    if (!node.getBoundingClientRect || node.closest(".fl-say")) return;
    const box = node.getBoundingClientRect();
    acted = { node, x: box.left + Math.min(box.width / 2, 160), y: box.bottom, at: performance.now() };
  };
  for (const kind of ["click", "change", "keydown", "drop"]) document.addEventListener(kind, touch, true);

  const shut = () => document.querySelectorAll(".fl-say").forEach((box) => box.remove());
  const settle = (box, by) => {
    const live = by && by.node.isConnected && by.node.getBoundingClientRect();
    const x = live && live.width ? live.left + Math.min(live.width / 2, 160) : by ? by.x : innerWidth / 2;
    const y = live && live.width ? live.bottom : by ? by.y : 60;
    const wide = box.offsetWidth, high = box.offsetHeight, strip = 64;
    box.style.left = `${Math.max(8, Math.min(x - 40, innerWidth - wide - 8))}px`;
    box.style.top = `${Math.max(8, Math.min(y + 8, innerHeight - strip - high))}px`;
  };
  const say = (note, by = answered) => {
    if (!note || !note.words) return;
    shut();
    const box = document.createElement("div");
    box.className = `fl-say ${note.tone || "bad"}`;
    box.setAttribute("role", note.tone === "good" ? "status" : "alert");
    const words = document.createElement("p"), hint = document.createElement("small"), close = document.createElement("button");
    const told = (text) => (note.tone === "good" ? text : window.flenField.named(text));
    words.textContent = told(note.words);
    hint.textContent = told(note.hint || "");
    close.type = "button";
    close.textContent = "×";
    close.setAttribute("aria-label", "close this message");
    close.addEventListener("click", () => box.remove());
    box.append(words, hint, close);
    (document.querySelector("dialog[open]") || document.body).append(box); // a dialog lies above the page
    settle(box, by);
    const moves = ["scroll", "resize"];
    const follow = () => (box.isConnected ? settle(box, by) : moves.forEach((each) => removeEventListener(each, follow, true)));
    moves.forEach((each) => addEventListener(each, follow, true));
    setTimeout(() => box.remove(), note.tone === "good" ? 6000 : 20000);
  };

  // ── calls: a sign that one is under way, and words where one breaks ───────────────────────────
  const CALL = /\/gradio_api\/(run|queue\/join|call|upload)\b/;
  const RECENT_MS = 500; // a call that starts later than this was not asked for by a click
  let away = null;
  const reached = (yes) => {
    if (!yes && !away) {
      away = document.createElement("div");
      away.className = "fl-away";
      away.setAttribute("role", "alert");
      away.textContent = "The studio does not answer. If it was closed, start it again: this page then goes on by itself.";
      document.body.append(away);
    }
    if (yes && away) { away.remove(); away = null; }
  };
  const broken = async (response) => {
    const body = await response.clone().json().catch(() => ({}));
    const words = body.error || body.detail || `The studio answered with ${response.status}.`;
    return { tone: "bad", words: `Something in the studio went wrong: ${words}`, hint: "The details are in the studio's log. Reload the page and try again." };
  };
  // An answer to an older question overwrites neither what the answer to a newer one has drawn, nor what was typed since.
  const drawn = new Map(); // by the id of an output: the number of the newest call that drew it
  const typed = new Map(); // by the id of a field: the number of the last call before a person changed it
  const fresh = new Set(); // the fields that a person has changed since their last call
  let calls = 0;
  const fieldOf = (node) => {
    for (; node; node = node.parentElement) {
      const found = node.id && window.gradio_config?.components.find((each) => (each.props.elem_id || `component-${each.id}`) === node.id);
      if (found) return found.type === "html" ? undefined : found.id;
    }
  };
  const noted = (event) => {
    const field = fieldOf(event.target);
    if (field !== undefined) { typed.set(field, calls); fresh.add(field); }
  };
  addEventListener("input", noted, true);
  addEventListener("pointerdown", (event) => event.target.closest?.("[role=option]") && noted(event), true);
  // A field whose own change is on its way to the store is told what the store held before.
  const listener = ({ fn_index }) => window.gradio_config?.dependencies.find((each) => each.id === fn_index);
  const changing = (targets) => targets.filter(([id, what]) => ["input", "change"].includes(what) && fresh.has(id)).map(([id]) => id);
  const asLeft = (value) => {
    const { value: gone, ...kept } = value?.__type__ === "update" ? value : { __type__: "update" };
    return kept;
  };
  // Gradio's server knows the choices of a field by its last answer, and refuses a value of other ones: where the field's
  // own value is not among them, choices and value always arrive.
  const last = new Map(); // by the id of a field: the value that it had in the last call or answer
  const isAmong = (id, choices) => [last.get(id)].flat().every((each) => choices.some(([, value]) => value === each));
  const isStamp = (id) => window.gradio_config.components.some((each) => each.id === id && /^drawn-/.test(each.props.elem_id));
  const isForced = (id, value) => value?.choices && !isAmong(id, value.choices);
  const shown = (id, value) => {
    if (value?.__type__ !== "update") last.set(id, value); else if ("value" in value) last.set(id, value.value);
    return value;
  };
  const skipped = (value) => // a block of HTML says it twice
    value?.__type__ === "update" && Object.entries(value).every(([name, each]) => name === "__type__" || (name === "props" && skipped(each)));
  const isAsked = (targets) => targets.some(([, what]) => !["select", "change", "input"].includes(what));
  const byPerson = ({ js, targets }) => !`${js}`.includes("flen.whole") && isAsked(targets); // no check of the store
  const acts = new Set(); // the numbers of the calls under way that a person asked for
  const inOrder = async (response, number, { outputs, targets }, during) => {
    const body = await response.clone().json().catch(() => null);
    if (!Array.isArray(body?.data)) return response;
    const asked = isAsked(targets);
    // What a person asked for is always shown. A redrawing that comes late in part does not say that the tab is drawn: the
    // next check of the store draws it anew. One that began during what a person asked for may not know of it yet.
    const behind = during && !asked && outputs.some(isStamp);
    const isLate = (value, at) => !asked && !skipped(value) && (behind || (drawn.get(outputs[at]) || 0) > number);
    const partly = body.data.some(isLate);
    let changed = partly;
    body.data = body.data.map((value, at) => {
      if (skipped(value)) return value;
      const id = outputs[at];
      const forced = isForced(id, value);
      if ((isLate(value, at) && !forced) || (partly && isStamp(id))) return { __type__: "update" };
      drawn.set(id, Math.max(number, drawn.get(id) || 0));
      if (asked || forced || !(typed.get(id) >= number)) return shown(id, value);
      changed = true;
      return asLeft(value);
    });
    return !changed ? response : new Response(JSON.stringify(body), { status: response.status, headers: { "content-type": "application/json" } });
  };
  const plain = window.fetch;
  window.fetch = async (...given) => {
    const address = String(given[0]?.url || given[0]);
    if (!CALL.test(address)) return plain(...given);
    const by = acted && performance.now() - acted.at < RECENT_MS ? acted : null;
    by?.node.setAttribute("data-calling", "");
    const number = (calls += 1);
    const sent = /\/run\//.test(address) && typeof given[1]?.body === "string" && JSON.parse(given[1].body);
    const heard = sent && listener(sent);
    if (heard) sent.data.forEach((value, at) => last.set(heard.inputs[at], value));
    const during = acts.size > 0;
    if (heard && byPerson(heard)) acts.add(number);
    const fields = heard ? changing(heard.targets) : [];
    fields.forEach((each) => { typed.set(each, Infinity); fresh.delete(each); });
    try {
      const response = await plain(...given);
      reached(true);
      if (by) answered = by;
      if (response.status >= 400 && response.status !== 410) say(await broken(response), by);
      return response.ok && heard ? await inOrder(response, number, heard, during) : response;
    } catch (error) {
      if (error.name !== "AbortError") reached(false);
      throw error;
    } finally {
      acts.delete(number);
      fields.forEach((each) => typed.set(each, calls));
      by?.node.removeAttribute("data-calling");
    }
  };

  // ── clicks that need no server ────────────────────────────────────────────────────────────────
  const form = (name) => {
    document.body.dataset.form = name !== "new" && document.body.dataset.form === name ? "" : name;
    document.querySelector(`#${name}-form input, #${name}-form textarea`)?.focus();
  };
  document.addEventListener("click", (event) => {
    const pressed = event.target.closest(TAB);
    if (pressed && wheel().contains(pressed)) put("tab", pressed.textContent.trim());
    const link = event.target.closest("[data-tab]");
    if (link) openTab(link.dataset.tab, link.dataset.part);
    if (event.target.closest("#new-character, [data-new-character]")) form("new");
    if (event.target.closest("#share-review")) form("share");
  }, true);
  document.addEventListener("keydown", (event) => event.key === "Escape" && shut());
  addEventListener("pointerdown", (event) => event.target.closest?.(".fl-say") || shut(), true);

  const start = () => arrive(300);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();

  window.flen = Object.assign(window.flen || {}, {
    openTab,
    say,
    here: (values) => [character(), ...values.slice(1)],
    whole: (values) => [character(), tab(), ...values.slice(2)],
    go: (id) => { if (id) { put("character", id); document.body.dataset.form = ""; } return [id]; },
    // The rail says whose it is: an address that named nobody, or somebody who is gone, takes the name over.
    stand: (rail) => rail.dataset.asked === character() && put("character", rail.dataset.character),
  });
})();

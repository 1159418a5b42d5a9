// A caption's words belong to the picture that they are typed for. They are kept in the browser with every letter, and
// in Python when the field is left, another picture is opened, the page is hidden or closed, or opened again.
(() => {
  const KEPT = "flen-words", RETRY_MS = 250;
  let act = null, sign = null, flight = null, timer = 0, number = Date.now();
  let before = null; // what the field held before the hand came

  const field = () => document.querySelector("#curate-caption textarea");
  const about = () => document.querySelector("#curate-about textarea, #curate-about input")?.value || "";
  const of = () => document.querySelector("[data-character]")?.dataset.character || "";
  const drafts = () => { try { return JSON.parse(localStorage.getItem(KEPT)) || {}; } catch { return {}; } };
  const put = (id, draft) => {
    const all = drafts();
    if (draft) all[id] = draft; else delete all[id];
    localStorage.setItem(KEPT, JSON.stringify(all));
  };
  const fill = (words) => {
    const node = field(), at = node.selectionStart;
    node.value = words;
    node.dispatchEvent(new Event("input", { bubbles: true }));
    node.setSelectionRange(at, at);
  };

  const send = () => {
    clearTimeout(timer);
    if (!flight || !act) return;
    act({ act: "words", ...flight });
    timer = setTimeout(send, RETRY_MS); // the framework drops what is sent while it is busy; twice kept is once kept
  };
  const flush = () => {
    const [id, draft] = Object.entries(drafts())[0] || [];
    if (flight || !id) return;
    flight = { ...draft, id, n: ++number };
    send();
  };

  const settle = (element, trigger) => {
    const drawn = element.querySelector("[data-sign]");
    if (!drawn) return;
    [act, sign] = [trigger, element];
    if (flight && drawn.dataset.sign === String(flight.n)) {
      clearTimeout(timer);
      if (drafts()[flight.id]?.caption === flight.caption) put(flight.id);
      flight = null;
    }
    setTimeout(() => {
      const mine = drafts()[about()];
      if (mine && field() && field().value !== mine.caption) fill(mine.caption);
      if (document.activeElement !== field()) flush();
    }, 0);
  };

  document.addEventListener("focusin", (event) => { if (event.target === field()) before = { id: about(), words: event.target.value }; });
  document.addEventListener("input", (event) => {
    if (event.target !== field() || !about() || document.activeElement !== field()) return;
    put(about(), { of: of(), caption: event.target.value });
    const told = sign?.querySelector("[data-sign]");
    if (told) told.classList.add("stale");
  });
  document.addEventListener("focusout", (event) => { if (event.target === field()) flush(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden) flush(); });
  ["beforeunload", "pagehide"].forEach((name) => window.addEventListener(name, flush));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.target !== field()) return;
    event.stopPropagation();
    const id = about();
    if (drafts()[id] && before?.id === id) { fill(before.words); put(id); flush(); } else sign?.querySelector("[data-unword]")?.click();
  }, true);
  document.addEventListener("click", (event) => {
    const node = event.target.closest("[data-unword]");
    if (!node) return;
    const { id, of: whose, was = "", by = "" } = node.dataset;
    put(id, { of: whose, caption: was, by });
    if (about() === id) { fill(was); put(id, { of: whose, caption: was, by }); }
    before = { id, words: was };
    flush();
  });
  // Gradio takes dropped files; a dropped folder it leaves empty, so its files are handed on one by one.
  const inside = async (entry) => {
    if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
    const reader = entry.createReader(), found = [];
    for (let part; (part = await new Promise((done, fail) => reader.readEntries(done, fail))).length;) found.push(...part);
    return (await Promise.all(found.map(inside))).flat();
  };
  document.addEventListener("drop", async (event) => {
    const zone = event.target.closest?.("#curate-files");
    const entries = [...(event.dataTransfer?.items || [])].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!zone || !entries.some((entry) => entry.isDirectory)) return;
    event.preventDefault();
    event.stopPropagation();
    const all = new DataTransfer(), input = zone.querySelector("input[type=file]");
    (await Promise.all(entries.map(inside))).flat().forEach((file) => all.items.add(file));
    input.files = all.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, true);
  window.flenWords = { settle };
})();

// Notes on versions are kept when their field is left; what is being typed outlives a new drawing of the page.
(() => {
  const TRIES = 3;
  const drafts = new Map(); // version -> {text, at, here, tries}: typed and not kept yet
  const note = (node) => node?.dataset?.note;

  const send = (node, draft) => {
    const button = node.parentElement.querySelector('[data-act="note"]');
    draft.tries += 1;
    button.dataset.text = draft.text;
    button.click();
  };

  const settle = (element) => element.querySelectorAll("[data-note]").forEach((node) => {
    const draft = drafts.get(note(node));
    if (!draft) return;
    if (node.defaultValue.trim() === draft.text.trim()) { drafts.delete(note(node)); if (!draft.here) return; }
    if (node.value !== draft.text) node.value = draft.text;
    if (draft.here && document.activeElement !== node) { node.focus({ preventScroll: true }); node.setSelectionRange(draft.at, draft.at); }
    if (!draft.here && draft.tries < TRIES) send(node, draft); // the framework drops what is sent while it is busy
  });

  document.addEventListener("input", ({ target }) => {
    if (note(target)) drafts.set(note(target), { text: target.value, at: target.selectionStart, here: true, tries: 0 });
  });
  document.addEventListener("focusout", ({ target }) => {
    const draft = drafts.get(note(target));
    if (!draft || !target.isConnected) return;
    draft.here = false;
    if (target.value.trim() === target.defaultValue.trim()) drafts.delete(note(target)); else send(target, draft);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !note(event.target)) return;
    event.stopPropagation();
    drafts.delete(note(event.target));
    event.target.value = event.target.defaultValue;
    event.target.blur();
  }, true);
  window.flenStory = { settle };
})();

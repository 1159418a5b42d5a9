// The form for a new character is a dialog: it takes the focus, keeps it, and gives it back; Enter creates, Escape closes.
(() => {
  const form = () => document.querySelector("#new-form");
  const isOpen = () => document.body.dataset.form === "new";
  const close = () => { document.body.dataset.form = ""; };
  let opener = null;

  const stops = () => [...form().querySelectorAll("input, textarea, button, [tabindex]")]
    .filter((node) => node.offsetParent && !node.disabled && node.tabIndex >= 0);
  new MutationObserver(() => {
    const node = form();
    if (!node) return;
    if (isOpen()) {
      node.setAttribute("role", "dialog");
      node.setAttribute("aria-modal", "true");
      node.setAttribute("aria-label", "New character");
      opener = document.activeElement;
      setTimeout(() => node.querySelector("#new-name input, #new-name textarea")?.focus(), 0);
    } else if (opener) { opener.focus?.(); opener = null; }
  }).observe(document.documentElement, { subtree: true, attributes: true, attributeFilter: ["data-form"] });

  document.addEventListener("keydown", (event) => {
    if (!isOpen() || !form()) return;
    const listed = form().querySelector("ul.options, [role=listbox]");
    if (event.key === "Escape" && !listed) { event.stopPropagation(); close(); }
    if (event.key === "Enter" && !listed && event.target.matches("input, textarea") && form().contains(event.target)) {
      event.preventDefault();
      event.stopPropagation();
      if (!event.repeat && !document.querySelector("#new-create[data-calling]")) document.querySelector("#new-create").click();
    }
    if (event.key !== "Tab") return;
    const all = stops(), first = all[0], last = all[all.length - 1];
    const away = !form().contains(document.activeElement);
    if (away || (event.shiftKey ? document.activeElement === first : document.activeElement === last)) {
      event.preventDefault();
      (event.shiftKey && !away ? last : first)?.focus();
    }
  }, true);
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-close-form]")) close();
  });
  document.addEventListener("pointerdown", (event) => { if (isOpen() && event.target === form()) close(); });
})();
